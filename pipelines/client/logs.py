"""The logs of a run's pods, and how they ended.

KFP's API leaves its fields for pods empty. But each pod has a label with its run, and an annotation
with its node in Argo's tree. So this asks Kubernetes, which also knows what KFP does not: that a
pod was out of memory, or that its image is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kubernetes.client import ApiClient, CoreV1Api, V1ContainerStatus, V1Pod

from pipelines import kube
from pipelines.conventions import RUN_LABEL
from ranzcr.errors import ConfigError, nearest

_PLACE = "workflows.argoproj.io/node-name"  # workflow.root[.loop...].task.executor[(attempt)]
_EXECUTOR = re.compile(r"executor(?:\((\d+)\))?")
_CONTAINER = "main"  # runs the component; the others are Argo's


@dataclass(frozen=True)
class TaskPod:
    """The pod of one attempt at a task."""

    task: str
    attempt: int
    pod: V1Pod

    @property
    def ended(self) -> str:
        """Return its phase, and a reason if there is one: OOMKilled, exit code 2."""
        reason = _why(self.pod)
        return f"{self.pod.status.phase}, {reason}" if reason else self.pod.status.phase

    def __str__(self) -> str:
        attempt = f" (attempt {self.attempt + 1})" if self.attempt else ""
        return f"{self.task}{attempt}, pod {self.pod.metadata.name}: {self.ended}"


def pods(client: ApiClient, namespace: str, run_id: str) -> list[TaskPod]:
    """Return the pods of a run's tasks, oldest first, without KFP's drivers."""
    with kube.translated(f"pods of namespace {namespace}"):
        found = CoreV1Api(client).list_namespaced_pod(
            namespace, label_selector=f"{RUN_LABEL}={run_id}", _request_timeout=kube.LIMITS
        )
    every = [one for pod in found.items if (one := _task_pod(pod)) is not None]
    return sorted(every, key=lambda one: (one.pod.metadata.creation_timestamp, one.task))


def select(every: list[TaskPod], stage: str | None) -> list[TaskPod]:
    """Return the pods of a stage, including those that KFP numbers: train, train-2.

    Raises ConfigError, which names the stages that there are.
    """
    if stage is None:
        return every
    chosen = [one for one in every if re.fullmatch(rf"{re.escape(stage)}(-\d+)?", one.task)]
    if every and not chosen:
        names = {one.task for one in every}
        raise ConfigError(f"the run has no pod of stage {stage!r}; {nearest(stage, names)}")
    return chosen


def lines(client: ApiClient, one: TaskPod) -> Iterator[str]:
    """Yield the lines of a pod's component; none if it has not started."""
    meta = one.pod.metadata
    if not any(status.name == _CONTAINER and _began(status) for status in _statuses(one.pod)):
        return
    with kube.translated(f"log of pod {meta.name}"):
        answer = CoreV1Api(client).read_namespaced_pod_log(
            meta.name,
            meta.namespace,
            container=_CONTAINER,
            _preload_content=False,
            _request_timeout=kube.LIMITS,
        )
        for line in answer:
            yield line.decode(errors="replace").rstrip("\n")


def _task_pod(pod: V1Pod) -> TaskPod | None:
    *above, node = (pod.metadata.annotations or {}).get(_PLACE, "").split(".")
    found = _EXECUTOR.fullmatch(node)
    return TaskPod(above[-1], int(found[1] or 0), pod) if found and above else None


def _statuses(pod: V1Pod) -> list[V1ContainerStatus]:
    return pod.status.container_statuses or []


def _began(status: V1ContainerStatus) -> bool:
    return bool(status.state.running or status.state.terminated)


def _why(pod: V1Pod) -> str:
    for status in _statuses(pod):
        ended, waits = status.state.terminated, status.state.waiting
        if status.name == _CONTAINER and ended is not None and ended.exit_code:
            known = ended.reason if ended.reason not in (None, "Error") else ""
            return known or f"exit code {ended.exit_code}"
        if waits is not None and waits.reason not in (None, "PodInitializing", "ContainerCreating"):
            return waits.reason
    return pod.status.reason or ""
