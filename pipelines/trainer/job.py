"""The life of a TrainJob: made once, waited for, told of, deleted whatever happens.

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

POLL = 5.0  # seconds between two looks at the job
PATIENCE = 900.0  # seconds that the Kubernetes API may be away
LAST_PATIENCE = 20.0  # seconds to delete the job in, while the task's pod is being stopped
_SAID = "ranzcr: "  # begins the one line of an error that the user can mend
_CRASHED = "ranzcr: crashed"
_STOPPED = 143  # by SIGTERM: the job failed elsewhere, and Kubernetes takes its pods away
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
        manifest: what to make; its owner says which task it belongs to.
        alive: a file that its nodes look at: touched as long as we wait.
    """

    def __init__(self, client: k8s.ApiClient, namespace: str, manifest: Json, alive: Path) -> None:
        self.name: str = manifest["metadata"]["name"]
        self._what = f"TrainJob {self.name}"
        self._manifest, self._namespace, self._alive = manifest, namespace, alive
        self._core, self._custom = k8s.CoreV1Api(client), k8s.CustomObjectsApi(client)
        self._log = Log(self._core, namespace)
        self._told = ""

    def start(self) -> None:
        """Make the job; one that a task before us has left behind is deleted first.

        Raises ClusterError where a living task trains the same, or the cluster refuses.
        """
        until = time.monotonic() + PATIENCE
        try:
            while not self._steadily("TrainJob to create", self._create):
                self._clear()
                if time.monotonic() > until:
                    raise ClusterError(f"TrainJob {self.name} is there and cannot be deleted")
        except kube.AbsentError:
            raise ClusterError(
                "this cluster knows no TrainJob; install Kubeflow Trainer, or take a profile "
                "whose trainings need one node"
            ) from None

    def wait(self) -> None:
        """Hand on what rank 0 says until the job is complete.

        Raises PipelineError for what the user can mend, TrainingFailed for any other failure,
        ClusterError where the cluster does not answer for PATIENCE seconds.
        """
        pods: dict[int, k8s.V1Pod] = {}  # as last seen: those of a job that failed are deleted
        while True:
            job = self._steadily(self._what, self._get)
            if job is None:
                raise PipelineError(f"{self._what} was deleted; resume the run to train on")
            self._note(job)
            pods |= self._pods()
            self._tell(pods.get(0))
            ended = _true_condition(job, constants.TRAINJOB_COMPLETE, constants.TRAINJOB_FAILED)
            if ended and ended["type"] == constants.TRAINJOB_COMPLETE:
                return
            if ended:
                raise _failure(self.name, ended, pods)
            self._sleep()

    def delete(self) -> None:
        """Delete the job, if it is ours and the cluster answers in time; else say what to do."""
        try:
            self._steadily(self._what, self._remove_ours, LAST_PATIENCE)
        except ClusterError as error:
            print(
                f"{self._what} is left ({error}); its nodes end by themselves, or: "
                f"kubectl -n {self._namespace} delete trainjob {self.name}",
                file=sys.stderr,
            )

    def _create(self) -> bool:
        """Whether the job is now there and ours, though an answer may have been lost."""
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
        """Delete the job that is in the way, unless the task that made it lives."""
        job = self._steadily(self._what, self._get)
        if job is None:
            return
        name, uid = _owner(job)
        if self._steadily(f"pod {name}", lambda: self._lives(name, uid)):
            raise ClusterError(
                f"pod {name} trains the same experiment and fold (TrainJob {self.name}); "
                "wait for its run to end, then resume this one"
            )
        self._steadily(self._what, self._remove)
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
        """The newest pod of each node; none where the cluster does not say."""
        selector = constants.POD_LABEL_SELECTOR.format(trainjob_name=self.name)
        try:
            found = self._core.list_namespaced_pod(
                self._namespace, label_selector=selector, _request_timeout=kube.LIMITS
            ).items
        except _TROUBLE:
            return {}
        found.sort(key=lambda pod: pod.metadata.creation_timestamp)
        return {int(pod.metadata.labels[constants.JOB_INDEX_LABEL]): pod for pod in found}

    def _tell(self, first: k8s.V1Pod | None) -> None:
        for line in self._log.more(first) if first else []:
            print(line, file=sys.stderr, flush=True)
            if line.startswith(_SAID) and not line.startswith(_CRASHED):
                # The same would happen again each time Kubernetes starts the nodes anew.
                raise PipelineError(line.removeprefix(_SAID))

    def _note(self, job: Json) -> None:
        """Say once when the job waits for its queue, and when it goes on."""
        waits = bool(_true_condition(job, "Suspended"))
        state = "suspended: it waits for its queue" if waits else "admitted"
        if state != self._told and (waits or self._told):
            self._told = state
            print(f"{self._what} is {state}", file=sys.stderr, flush=True)

    def _steadily(
        self, what: str, ask: Callable[[], Answer], patience: float | None = None
    ) -> Answer:
        """Ask until Kubernetes answers; at most for `patience`, once where asking is no use."""
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
        with suppress(OSError):  # the volume may be away for a moment
            self._alive.touch()
        time.sleep(POLL)


class Log:
    """What a node's container says, each line once, over any number of requests and pods."""

    def __init__(self, core: k8s.CoreV1Api, namespace: str) -> None:
        self._core, self._namespace = core, namespace
        self._read: dict[str, tuple[float, tuple[str, str]]] = {}  # pod -> clock, last time stamp

    def more(self, pod: k8s.V1Pod) -> list[str]:
        """Lines that are new; none where the log cannot be read now: it is tried again."""
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
            return []  # not started yet, or away
        stamped = [line.partition(" ") for line in text.splitlines()]
        new = [(_order(stamp), line) for stamp, _, line in stamped if _order(stamp) > last]
        self._read[name] = (now, new[-1][0] if new else last)
        return [line for _, line in new]


def _order(stamp: str) -> tuple[str, str]:
    """2026-01-02T03:04:05.6Z so that two of them compare; the fraction's zeros are cut off."""
    seconds, _, fraction = stamp.removesuffix("Z").partition(".")
    return seconds, fraction.ljust(9, "0")


def _if_there(ask: Callable[[], Any]) -> Any:
    """What Kubernetes answers; None where there is no such object."""
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
    """The reason in one line: the job's, and of the first node that failed the container's."""
    line = f"TrainJob {name} failed: {condition.get('message') or condition.get('reason')}"
    for index, pod in sorted(pods.items()):
        for container in pod.status.container_statuses or []:
            ended = container.state.terminated or container.last_state.terminated
            if ended and ended.exit_code not in (0, _STOPPED):
                reason = f"{ended.reason}, exit code {ended.exit_code}"
                return TrainingFailed(f"{line}; node {index}: {reason}", ended.exit_code)
    return TrainingFailed(line, 1)
