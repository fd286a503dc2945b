"""A stand-in for Kubernetes with Kubeflow Trainer; a test scripts the course of its TrainJobs."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from typing import Any

from kube_server import KubeServer, meta
from kubeflow.trainer.constants import constants
from kubeflow_trainer_api import models
from kubernetes import client as k8s
from loopback import Answer, Refusal, Request, as_answer, routed

JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/{namespace}/trainjobs"
START = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


@dataclass
class Update:
    """The changes of the job before the next GET of it.

    Attributes:
        condition: its type and its message.
        log: new lines in the log of node 0.
        exits: the exit codes and reasons of the nodes that have ended, by node.
        restarted: True if node 0 has a new pod.
        pods_deleted: True if Kubernetes has deleted the nodes' pods, as it does after a failure.
    """

    condition: tuple[str, str] | None = None
    log: tuple[str, ...] = ()
    exits: dict[int, tuple[int, str]] = field(default_factory=dict)
    restarted: bool = False
    pods_deleted: bool = False


@dataclass
class TrainerServer(KubeServer):
    """Kubernetes with Kubeflow Trainer.

    Attributes:
        updates: one for each GET of the job; the last one stays.
        jobs: the TrainJobs that exist, by name.
        created: all TrainJobs that were ever created.
        installed: False if Kubernetes does not know TrainJobs.
    """

    updates: list[Update] = field(default_factory=lambda: [Update(("Complete", "done"))])
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    installed: bool = True

    def __post_init__(self) -> None:
        self._logs: list[list[str]] = [[]]  # of node 0, by pod
        self._exits: dict[int, tuple[int, str]] = {}
        self._lines = 0
        self._pods_deleted = False

    def answer(self, request: Request) -> Answer:
        if request.path.startswith("/apis/trainer.kubeflow.org") and self.installed:
            routes = {
                f"POST {JOBS}": self._create,
                f"GET {JOBS}/{{name}}": self._job,
                f"DELETE {JOBS}/{{name}}": self._delete,
            }
            return routed(routes, request)
        return super().answer(request)

    def _create(self, request: Request, namespace: str) -> Answer:
        job = json.loads(request.body)
        if models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() != job:
            raise Refusal(400, "strict decoding error: unknown field")
        name = job["metadata"]["name"]
        if name in self.jobs:
            raise Refusal(409, f'trainjobs.trainer.kubeflow.org "{name}" already exists')
        self.created.append(job)
        self.jobs[name] = job
        return as_answer(job)

    def _job(self, request: Request, namespace: str, name: str) -> Answer:
        if name not in self.jobs:
            raise Refusal(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')
        update = self.updates.pop(0)
        self.updates = self.updates or [Update(update.condition)]
        if update.restarted:
            self._logs.append([])
        self._logs[-1] += map(self._stamped, update.log)
        self._exits |= update.exits
        self._pods_deleted = update.pods_deleted
        conditions = []
        if update.condition:
            kind, message = update.condition
            conditions = [
                {
                    **{"type": kind, "status": "True", "reason": kind, "message": message},
                    "lastTransitionTime": START.isoformat(),
                }
            ]
        return as_answer({**self.jobs[name], "status": {"conditions": conditions}})

    def _stamped(self, line: str) -> str:
        """Add a time as the kubelet does: in nanoseconds, without trailing zeros."""
        self._lines += 1
        fraction = f"{self._lines:09}".rstrip("0")
        return f"2026-01-02T03:04:05.{fraction}Z {line}"

    def _delete(self, request: Request, namespace: str, name: str) -> Answer:
        if self.jobs.pop(name, None) is None:
            raise Refusal(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')
        return as_answer({"kind": "Status", "status": "Success"})

    def _pods(self, request: Request, namespace: str) -> Answer:
        pods = [*(self._pod(0, attempt) for attempt in range(len(self._logs))), self._pod(1, 0)]
        pod_list = k8s.V1PodList(items=pods if self.jobs and not self._pods_deleted else [])
        return as_answer(k8s.ApiClient().sanitize_for_serialization(pod_list))

    def _pod(self, index: int, attempt: int) -> k8s.V1Pod:
        end = self._exits.get(index)
        terminated = end and k8s.V1ContainerStateTerminated(exit_code=end[0], reason=end[1])
        status = k8s.V1ContainerStatus(
            name=constants.NODE,
            image="i",
            image_id="i",
            ready=not end,
            restart_count=0,
            state=k8s.V1ContainerState(terminated=terminated or None),
            last_state=k8s.V1ContainerState(),
        )
        labels = {constants.JOB_INDEX_LABEL: str(index)}
        created = START + datetime.timedelta(minutes=attempt)
        return k8s.V1Pod(
            metadata=meta(f"node-{index}-{attempt}", labels=labels, creation_timestamp=created),
            status=k8s.V1PodStatus(phase="Running", container_statuses=[status]),
        )

    def _log(self, request: Request, namespace: str, name: str) -> Answer:
        if request.query.get("container") != constants.NODE or not request.query.get("timestamps"):
            raise Refusal(400, "a container name must be specified for pod")
        lines = self._logs[int(name.rpartition("-")[2])]
        return Answer("".join(f"{line}\n" for line in lines).encode(), kind="text/plain")
