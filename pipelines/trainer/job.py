"""A TrainJob on the cluster: created once, followed to its end, and always deleted.

The `kubeflow` SDK names the kinds, fields and labels, and decides what is valid. Its client is not
used to make or to wait for a job: version 0.5 can give it neither an owner nor a variable from a
secret, and its waiter ends at the first request that fails, without the reason of a failed job.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from kubeflow.trainer.constants import constants
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from pipelines import kube
from ranzcr.errors import ClusterError, PipelineError

POLL = 5.0  # seconds between two requests
PATIENCE = 900.0  # seconds that the Kubernetes API may not answer
LAST_PATIENCE = 20.0  # seconds to delete the job in while the task's pod is being stopped
_ERROR = "ranzcr: "  # starts the line of an error that the user can fix
_CRASHED = "ranzcr: crashed"
_STOPPED = 143  # by SIGTERM: the job failed elsewhere, and Kubernetes deletes its pods
_LIVING = ("Pending", "Running")  # phases of a pod
_PASSING = (401, 408, 429)  # refusals that may pass, as all from 500 on; a token is renewed
_TROUBLE = (ApiException, urllib3.exceptions.HTTPError, OSError)

Json = dict[str, Any]
Answer = TypeVar("Answer")


class TrainingFailed(Exception):  # noqa: N818, the job's failure, not ours
    """Its text is one line; `code` is the exit code of the node that failed."""

    def __init__(self, line: str, code: int) -> None:
        super().__init__(line)
        self.code = code


class TrainJob:
    """One TrainJob on the cluster.

    Args:
        manifest: of the job; its owner is the pod of this task.
        alive: a file that its nodes watch; touched as long as we wait.
    """

    def __init__(self, client: k8s.ApiClient, namespace: str, manifest: Json, alive: Path) -> None:
        self.name: str = manifest["metadata"]["name"]
        self._what = f"TrainJob {self.name}"
        self._manifest, self._namespace, self._alive = manifest, namespace, alive
        self._core, self._custom = k8s.CoreV1Api(client), k8s.CustomObjectsApi(client)
        self._log = Log(self._core, namespace)
        self._state = ""

    def start(self) -> None:
        """Create the job; a job that an earlier task left behind is deleted first.

        Raises ClusterError if a running task trains the same, or the cluster refuses.
        """
        until = time.monotonic() + PATIENCE
        try:
            while not self._retry("TrainJob to create", self._create):
                self._clear()
                if time.monotonic() > until:
                    raise ClusterError(f"TrainJob {self.name} is there and cannot be deleted")
        except kube.AbsentError:
            raise ClusterError(
                "this cluster knows no TrainJob; install Kubeflow Trainer, or take a profile "
                "whose trainings need one node"
            ) from None

    def wait(self) -> None:
        """Print the log of rank 0 until the job is complete.

        Raises PipelineError if the user can fix the cause, TrainingFailed for any other failure,
        ClusterError if the cluster does not answer for PATIENCE seconds.
        """
        pods: dict[int, k8s.V1Pod] = {}  # as last seen: those of a failed job are deleted
        while True:
            job = self._retry(self._what, self._get)
            if job is None:
                raise PipelineError(f"{self._what} was deleted; resume the run to train on")
            self._print_state(job)
            pods |= self._pods()
            self._print_log(pods.get(0))
            ended = _true_condition(job, constants.TRAINJOB_COMPLETE, constants.TRAINJOB_FAILED)
            if ended and ended["type"] == constants.TRAINJOB_COMPLETE:
                return
            if ended:
                raise _failure(self.name, ended, pods)
            self._sleep()

    def delete(self) -> None:
        """Delete the job if it is ours; print what to do if the cluster does not answer in time."""
        try:
            self._retry(self._what, self._remove_ours, LAST_PATIENCE)
        except ClusterError as error:
            print(
                f"{self._what} is left ({error}); its nodes end by themselves, or: "
                f"kubectl -n {self._namespace} delete trainjob {self.name}",
                file=sys.stderr,
            )

    def _create(self) -> bool:
        """Create the job; returns True if it exists and is ours, even if an answer was lost."""
        try:
            self._custom.create_namespaced_custom_object(
                *self._kind(), self._manifest, _request_timeout=kube.LIMITS
            )
        except ApiException as refusal:
            if refusal.status != 409:
                raise
            return self._is_ours()
        return True

    def _clear(self) -> None:
        """Delete the job of that name, unless the task that created it is running."""
        job = self._retry(self._what, self._get)
        if job is None:
            return
        name, uid = _owner(job)
        if self._retry(f"pod {name}", lambda: self._lives(name, uid)):
            raise ClusterError(
                f"pod {name} trains the same experiment and fold (TrainJob {self.name}); "
                "wait for its run to end, then resume this one"
            )
        self._retry(self._what, self._remove)
        self._sleep()

    def _is_ours(self) -> bool:
        there = self._get()
        return there is not None and _owner(there) == _owner(self._manifest)

    def _lives(self, name: str, uid: str) -> bool:
        pod = _if_there(
            lambda: self._core.read_namespaced_pod(
                name, self._namespace, _request_timeout=kube.LIMITS
            )
        )
        return bool(pod) and pod.metadata.uid == uid and pod.status.phase in _LIVING

    def _get(self) -> Json | None:
        return _if_there(
            lambda: self._custom.get_namespaced_custom_object(
                *self._kind(), self.name, _request_timeout=kube.LIMITS
            )
        )

    def _remove(self) -> None:
        _if_there(
            lambda: self._custom.delete_namespaced_custom_object(
                *self._kind(), self.name, _request_timeout=kube.LIMITS
            )
        )

    def _remove_ours(self) -> None:
        if self._is_ours():
            self._remove()

    def _kind(self) -> tuple[str, str, str, str]:
        return constants.GROUP, constants.VERSION, self._namespace, constants.TRAINJOB_PLURAL

    def _pods(self) -> dict[int, k8s.V1Pod]:
        """Return the newest pod of each node; none if the cluster does not answer."""
        selector = constants.POD_LABEL_SELECTOR.format(trainjob_name=self.name)
        try:
            found = self._core.list_namespaced_pod(
                self._namespace, label_selector=selector, _request_timeout=kube.LIMITS
            ).items
        except _TROUBLE:
            return {}
        found.sort(key=lambda pod: pod.metadata.creation_timestamp)
        return {int(pod.metadata.labels[constants.JOB_INDEX_LABEL]): pod for pod in found}

    def _print_log(self, first: k8s.V1Pod | None) -> None:
        for line in self._log.more(first) if first else []:
            print(line, file=sys.stderr, flush=True)
            if line.startswith(_ERROR) and not line.startswith(_CRASHED):
                # The same would happen each time Kubernetes restarts the nodes.
                raise PipelineError(line.removeprefix(_ERROR))

    def _print_state(self, job: Json) -> None:
        """Print once that the job waits for its queue, and that it continues."""
        waits = bool(_true_condition(job, "Suspended"))
        state = "suspended: it waits for its queue" if waits else "admitted"
        if state != self._state and (waits or self._state):
            self._state = state
            print(f"{self._what} is {state}", file=sys.stderr, flush=True)

    def _retry(self, what: str, ask: Callable[[], Answer], patience: float | None = None) -> Answer:
        """Ask until Kubernetes answers, at most for `patience`; only once if a retry is useless."""
        until = time.monotonic() + (PATIENCE if patience is None else patience)
        while True:
            try:
                return ask()
            except _TROUBLE as trouble:
                if not _may_pass(trouble) or time.monotonic() > until:
                    with kube.translated(what):
                        raise
            self._sleep()

    def _sleep(self) -> None:
        with suppress(OSError):  # the volume may be unavailable for a moment
            self._alive.touch()
        time.sleep(POLL)


class Log:
    """The log of a node's container, each line once, over any number of requests and pods."""

    def __init__(self, core: k8s.CoreV1Api, namespace: str) -> None:
        self._core, self._namespace = core, namespace
        self._read: dict[str, tuple[float, tuple[str, str]]] = {}  # pod -> clock, last time stamp

    def more(self, pod: k8s.V1Pod) -> list[str]:
        """Return new lines; none if the log cannot be read at the moment."""
        name = pod.metadata.name
        clock, last = self._read.get(name, (None, ("", "")))
        now = time.monotonic()
        since = {} if clock is None else {"since_seconds": int(now - clock) + 10}
        try:
            text = self._core.read_namespaced_pod_log(
                name,
                self._namespace,
                container=constants.NODE,
                timestamps=True,
                _request_timeout=kube.LIMITS,
                **since,
            )
        except _TROUBLE:
            return []  # not started yet, or no answer
        stamped = [line.partition(" ") for line in text.splitlines()]
        new = [(_order(stamp), line) for stamp, _, line in stamped if _order(stamp) > last]
        self._read[name] = (now, new[-1][0] if new else last)
        return [line for _, line in new]


def _order(stamp: str) -> tuple[str, str]:
    """Return a key to compare time stamps whose fractions lack their last zeros."""
    seconds, _, fraction = stamp.removesuffix("Z").partition(".")
    return seconds, fraction.ljust(9, "0")


def _if_there(ask: Callable[[], Any]) -> Any:
    """Return the answer of Kubernetes; None if there is no such object."""
    try:
        return ask()
    except ApiException as refusal:
        if refusal.status != 404:
            raise
        return None


def _may_pass(trouble: Exception) -> bool:
    if not isinstance(trouble, ApiException):
        return True
    return trouble.status in _PASSING or trouble.status >= 500


def _owner(job: Json) -> tuple[str, str]:
    references = job["metadata"].get("ownerReferences") or [{}]
    return references[0].get("name", ""), references[0].get("uid", "")


def _true_condition(job: Json, *types: str) -> Json | None:
    conditions = job.get("status", {}).get("conditions", [])
    true = (one for one in conditions if one["type"] in types and one["status"] == "True")
    return next(true, None)


def _failure(name: str, condition: Json, pods: Mapping[int, k8s.V1Pod]) -> TrainingFailed:
    """Return the reason of the job and of the first container that failed, in one line."""
    line = f"TrainJob {name} failed: {condition.get('message') or condition.get('reason')}"
    for index, pod in sorted(pods.items()):
        for container in pod.status.container_statuses or []:
            ended = container.state.terminated or container.last_state.terminated
            if ended and ended.exit_code not in (0, _STOPPED):
                reason = f"{ended.reason}, exit code {ended.exit_code}"
                return TrainingFailed(f"{line}; node {index}: {reason}", ended.exit_code)
    return TrainingFailed(line, 1)
