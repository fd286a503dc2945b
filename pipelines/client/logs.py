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
_STARTING = (None, "PodInitializing", "ContainerCreating")  # reasons of a normal start


@dataclass(frozen=True)
class TaskPod:
    """The pod of one attempt at a task."""

    task: str
    attempt: int
    pod: V1Pod

    @property
    def outcome(self) -> str:
        """Return its phase, and a reason if there is one: OOMKilled, exit code 2."""
        reason = _reason(self.pod)
        return f"{self.pod.status.phase}, {reason}" if reason else self.pod.status.phase

    def __str__(self) -> str:
        attempt = f" (attempt {self.attempt + 1})" if self.attempt else ""
        return f"{self.task}{attempt}, pod {self.pod.metadata.name}: {self.outcome}"


def pods(client: ApiClient, namespace: str, run_id: str) -> list[TaskPod]:
    """Return the pods of a run's tasks, oldest first, without KFP's drivers."""
    with kube.translated(f"pods of namespace {namespace}"):
        pod_list = CoreV1Api(client).list_namespaced_pod(
            namespace, label_selector=f"{RUN_LABEL}={run_id}", _request_timeout=kube.LIMITS
        )
    task_pods = [item for pod in pod_list.items if (item := _task_pod(pod)) is not None]
    return sorted(task_pods, key=lambda item: (item.pod.metadata.creation_timestamp, item.task))


def select(pods: list[TaskPod], stage: str | None) -> list[TaskPod]:
    """Return the pods of a stage, including those that KFP numbers: train, train-2.

    Raises ConfigError with the nearest stage if there is none of that name.
    """
    if stage is None:
        return pods
    selected = [item for item in pods if re.fullmatch(rf"{re.escape(stage)}(-\d+)?", item.task)]
    if pods and not selected:
        names = {item.task for item in pods}
        raise ConfigError(f"the run has no pod of stage {stage!r}; {nearest(stage, names)}")
    return selected


def lines(client: ApiClient, task_pod: TaskPod) -> Iterator[str]:
    """Yield the lines of a pod's component; none if it has not started."""
    pod = task_pod.pod
    meta = pod.metadata
    if not any(status.name == _CONTAINER and _has_started(status) for status in _statuses(pod)):
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
    match = _EXECUTOR.fullmatch(node)
    return TaskPod(above[-1], int(match[1] or 0), pod) if match and above else None


def _statuses(pod: V1Pod) -> list[V1ContainerStatus]:
    return pod.status.container_statuses or []


def _has_started(status: V1ContainerStatus) -> bool:
    return bool(status.state.running or status.state.terminated)


def _reason(pod: V1Pod) -> str:
    for status in _statuses(pod):
        end, waiting = status.state.terminated, status.state.waiting
        if status.name == _CONTAINER and end is not None and end.exit_code:
            reason = end.reason if end.reason not in (None, "Error") else ""
            return reason or f"exit code {end.exit_code}"
        if waiting is not None and waiting.reason not in _STARTING:
            return waiting.reason
    return pod.status.reason or ""
