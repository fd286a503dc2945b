"""The part of Kubernetes that makes TrainJobs, told by a test what becomes of them."""

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
class Look:
    """What has become of the job by the next time that it is looked at.

    Attributes:
        condition: its type, and its message.
        says: new lines of node 0.
        codes: with which exit codes and reasons the nodes have ended, by node.
        restarted: node 0 has a new pod.
        swept: Kubernetes has deleted the pods of nodes, as it does when a job has failed.
    """

    condition: tuple[str, str] | None = None
    says: tuple[str, ...] = ()
    codes: dict[int, tuple[int, str]] = field(default_factory=dict)
    restarted: bool = False
    swept: bool = False


@dataclass
class TrainerServer(KubeServer):
    """Kubernetes with Kubeflow Trainer.

    Attributes:
        looks: one for each GET of the job; the last one stays.
        jobs: those that are there, by name.
        made: all that were ever made.
        installed: whether TrainJobs are a kind that it knows.
    """

    looks: list[Look] = field(default_factory=lambda: [Look(("Complete", "done"))])
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: list[dict[str, Any]] = field(default_factory=list)
    installed: bool = True

    def __post_init__(self) -> None:
        self._said: list[list[str]] = [[]]  # lines of node 0, by pod
        self._codes: dict[int, tuple[int, str]] = {}
        self._lines = 0
        self._swept = False

    def answer(self, request: Request) -> Answer:
        if request.path.startswith("/apis/trainer.kubeflow.org") and self.installed:
            routes = {
                f"POST {JOBS}": self._make,
                f"GET {JOBS}/{{name}}": self._job,
                f"DELETE {JOBS}/{{name}}": self._delete,
            }
            return routed(routes, request)
        return super().answer(request)

    def _make(self, request: Request, namespace: str) -> Answer:
        job = json.loads(request.body)
        if models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() != job:
            raise Refusal(400, "strict decoding error: unknown field")
        name = job["metadata"]["name"]
        if name in self.jobs:
            raise Refusal(409, f'trainjobs.trainer.kubeflow.org "{name}" already exists')
        self.made.append(job)
        self.jobs[name] = job
        return as_answer(job)

    def _job(self, request: Request, namespace: str, name: str) -> Answer:
        if name not in self.jobs:
            raise Refusal(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')
        look = self.looks.pop(0)
        self.looks = self.looks or [Look(look.condition)]
        if look.restarted:
            self._said.append([])
        self._said[-1] += map(self._stamped, look.says)
        self._codes |= look.codes
        self._swept = look.swept
        conditions = []
        if look.condition:
            kind, message = look.condition
            one = {"type": kind, "status": "True", "reason": kind, "message": message}
            conditions = [{**one, "lastTransitionTime": START.isoformat()}]
        return as_answer({**self.jobs[name], "status": {"conditions": conditions}})

    def _stamped(self, line: str) -> str:
        """As the kubelet writes them: nanoseconds, without the zeros at the end."""
        self._lines += 1
        fraction = f"{self._lines:09}".rstrip("0")
        return f"2026-01-02T03:04:05.{fraction}Z {line}"

    def _delete(self, request: Request, namespace: str, name: str) -> Answer:
        if self.jobs.pop(name, None) is None:
            raise Refusal(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')
        return as_answer({"kind": "Status", "status": "Success"})

    def _pods(self, request: Request, namespace: str) -> Answer:
        zero = [(0, attempt) for attempt in range(len(self._said))]
        pods = [self._pod(*which) for which in [*zero, (1, 0)]]
        pods = pods if self.jobs and not self._swept else []
        listed = k8s.V1PodList(items=pods)
        return as_answer(k8s.ApiClient().sanitize_for_serialization(listed))

    def _pod(self, index: int, attempt: int) -> k8s.V1Pod:
        ended = self._codes.get(index)
        terminated = ended and k8s.V1ContainerStateTerminated(exit_code=ended[0], reason=ended[1])
        status = k8s.V1ContainerStatus(
            name=constants.NODE,
            image="i",
            image_id="i",
            ready=not ended,
            restart_count=0,
            state=k8s.V1ContainerState(terminated=terminated or None),
            last_state=k8s.V1ContainerState(),
        )
        labels = {constants.JOB_INDEX_LABEL: str(index)}
        when = START + datetime.timedelta(minutes=attempt)
        return k8s.V1Pod(
            metadata=meta(f"node-{index}-{attempt}", labels=labels, creation_timestamp=when),
            status=k8s.V1PodStatus(phase="Running", container_statuses=[status]),
        )

    def _log(self, request: Request, namespace: str, name: str) -> Answer:
        if request.query.get("container") != constants.NODE or not request.query.get("timestamps"):
            raise Refusal(400, "a container name must be specified for pod")
        lines = self._said[int(name.rpartition("-")[2])]
        return Answer("".join(f"{line}\n" for line in lines).encode(), kind="text/plain")
