"""A stand-in for the part of the Kubernetes API that we use, in its official client's models."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import rbac
from kubernetes import client as k8s
from loopback import Answer, Loopback, Refusal, Request, as_answer, routed

from pipelines import conventions

NAMESPACE = "/api/v1/namespaces/{namespace}"
JOBS = "/apis/batch/v1/namespaces/{namespace}/{plural}/{name}"
DONE = {
    "terminated": {"exit_code": 0, "reason": "Completed"}
}  # the state of a container that has succeeded
_START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
VERSIONS = {"trainer.kubeflow.org": "v1alpha1"}  # other groups have v1beta2
PLURALS = {
    "secrets": "V1Secret",
    "configmaps": "V1ConfigMap",
    "serviceaccounts": "V1ServiceAccount",
    "persistentvolumeclaims": "V1PersistentVolumeClaim",
    "pods": "V1Pod",
    "jobs": "V1Job",
}


@dataclass
class KubeServer(Loopback):
    """A cluster whose objects a test sets.

    Attributes:
        namespaces: names.
        objects: plural -> objects of all namespaces, as models of the client.
        nodes: models of the client.
        custom: "group/plural" -> objects as JSON; the groups in it are installed.
        logs: pod -> its log.
        rules: the RBAC rules of the caller in our namespace; None allows everything.
    """

    namespaces: list[str] = field(default_factory=lambda: ["ranzcr"])
    objects: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in PLURALS})
    nodes: list[k8s.V1Node] = field(default_factory=list)
    custom: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    rules: list[dict[str, Any]] | None = None

    def answer(self, request: Request) -> Answer:
        if self.rules is not None and not rbac.allowed(request.path, self.rules, "ranzcr"):
            raise Refusal(403, f"forbidden: User cannot {request.line}")
        return routed(
            {
                "GET /version/?": self._version,
                "GET /apis/?": self._groups,
                "GET /api/v1/nodes": self._nodes,
                f"GET {NAMESPACE}": self._namespace,
                f"GET {NAMESPACE}/pods": self._pods,
                f"GET {NAMESPACE}/pods/{{name}}/log": self._log,
                f"GET {NAMESPACE}/{{plural}}/{{name}}": self._object,
                f"GET {JOBS}": self._object,
                "GET /apis/{group}/{version}/?": self._resources,
                "GET /apis/{group}/{version}/{plural}": self._all_custom,
                "GET /apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}": self._custom,
            },
            request,
        )

    def refused(self, status: int, message: str) -> bytes:
        return json.dumps({"kind": "Status", "code": status, "message": message}).encode()

    def kubeconfig(self, path: Path) -> Path:
        """Write a file for KUBECONFIG."""
        path.write_text(
            json.dumps(
                {
                    "current-context": "test",
                    "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": self.url}}],
                    "users": [{"name": "u", "user": {"token": "t"}}],
                }
            )
        )
        return path

    def _version(self, request: Request) -> Answer:
        blank = dict.fromkeys(
            ("build_date", "compiler", "git_commit", "git_tree_state", "go_version", "platform"), ""
        )
        return _write(k8s.VersionInfo(major="1", minor="34", git_version="v1.34.1", **blank))

    def _groups(self, request: Request) -> Answer:
        groups = []
        for name in sorted({key.split("/")[0] for key in self.custom}):
            served = _version_of(name)
            version = k8s.V1GroupVersionForDiscovery(f"{name}/{served}", served)
            groups.append(k8s.V1APIGroup(name=name, preferred_version=version, versions=[version]))
        return _write(k8s.V1APIGroupList(groups=groups))

    def _resources(self, request: Request, group: str, version: str) -> Answer:
        plurals = [
            plural for name, plural in (key.split("/") for key in self.custom) if name == group
        ]
        if version != _version_of(group) or not plurals:
            raise Refusal(404, "the server could not find the requested resource")
        resources = [
            k8s.V1APIResource(
                kind=plural, name=plural, namespaced=True, singular_name="", verbs=["get"]
            )
            for plural in plurals
        ]
        return _write(
            k8s.V1APIResourceList(group_version=f"{group}/{version}", resources=resources)
        )

    def _nodes(self, request: Request) -> Answer:
        return _write(k8s.V1NodeList(items=self.nodes))

    def _namespace(self, request: Request, name: str) -> Answer:
        if name not in self.namespaces:
            raise Refusal(404, f'namespaces "{name}" not found')
        return _write(k8s.V1Namespace(metadata=k8s.V1ObjectMeta(name=name)))

    def _pods(self, request: Request, namespace: str) -> Answer:
        key, value = request.query["labelSelector"].split("=")
        pods = [
            pod
            for pod in self.objects["pods"]
            if pod.metadata.namespace == namespace and pod.metadata.labels.get(key) == value
        ]
        return _write(k8s.V1PodList(items=pods))

    def _log(self, request: Request, namespace: str, name: str) -> Answer:
        if request.query.get("container") != "main":
            raise Refusal(400, "a container name must be specified")
        return Answer(self.logs[name].encode(), kind="text/plain")

    def _object(self, request: Request, namespace: str, plural: str, name: str) -> Answer:
        for item in self.objects[plural]:
            if (item.metadata.namespace, item.metadata.name) == (namespace, name):
                return _write(item)
        raise Refusal(404, f'{plural} "{name}" not found')

    def _all_custom(self, request: Request, group: str, version: str, plural: str) -> Answer:
        if version != _version_of(group) or f"{group}/{plural}" not in self.custom:
            raise Refusal(404, "the server could not find the requested resource")
        return as_answer({"items": self.custom[f"{group}/{plural}"]})

    def _custom(
        self, request: Request, group: str, version: str, namespace: str, plural: str, name: str
    ) -> Answer:
        for item in self.custom.get(f"{group}/{plural}", []):
            if item["metadata"] == {"namespace": namespace, "name": name}:
                return as_answer(item)
        raise Refusal(404, f'{plural}.{group} "{name}" not found')


def _version_of(group: str) -> str:
    return VERSIONS.get(group, "v1beta2")


def meta(name: str, **fields: Any) -> k8s.V1ObjectMeta:
    return k8s.V1ObjectMeta(name=name, namespace="ranzcr", **fields)


def _write(model: Any) -> Answer:
    return as_answer(k8s.ApiClient(k8s.Configuration()).sanitize_for_serialization(model))


def create_objects(server: KubeServer) -> None:
    """Create all objects that a run needs in its namespace, and install Kueue and KServe."""
    objects = server.objects
    objects["secrets"] = [_secret(name, keys) for name, keys in conventions.SECRETS.items()]
    objects["configmaps"] = [
        k8s.V1ConfigMap(metadata=meta("ranzcr-env"), data={"MLFLOW_TRACKING_URI": "http://m"})
    ]
    objects["serviceaccounts"] = [k8s.V1ServiceAccount(metadata=meta("pipeline-runner"))]
    objects["persistentvolumeclaims"] = [
        k8s.V1PersistentVolumeClaim(
            metadata=meta("ranzcr-work"),
            spec=k8s.V1PersistentVolumeClaimSpec(access_modes=["ReadWriteMany"]),
            status=k8s.V1PersistentVolumeClaimStatus(phase="Bound", capacity={"storage": "500Gi"}),
        )
    ]
    objects["jobs"] = [job("ranzcr-work-ready", Complete="True")]
    server.custom = {
        "kueue.x-k8s.io/localqueues": [queue("cpu"), queue("gpu")],
        "serving.kserve.io/inferenceservices": [],
    }


def _secret(name: str, keys: Iterable[str]) -> k8s.V1Secret:
    return k8s.V1Secret(
        metadata=meta(name), data={key: base64.b64encode(b"hidden").decode() for key in keys}
    )


def job(name: str, **conditions: str) -> k8s.V1Job:
    listed = [k8s.V1JobCondition(type=type_, status=status) for type_, status in conditions.items()]
    return k8s.V1Job(metadata=meta(name), status=k8s.V1JobStatus(conditions=listed))


def queue(name: str, **status: Any) -> dict[str, Any]:
    metadata = {"namespace": "ranzcr", "name": name}
    return {"metadata": metadata, "spec": {"clusterQueue": f"ranzcr-{name}"}, "status": status}


def _status(name: str, **state: Any) -> k8s.V1ContainerStatus:
    kinds = {
        "running": k8s.V1ContainerStateRunning,
        "terminated": k8s.V1ContainerStateTerminated,
        "waiting": k8s.V1ContainerStateWaiting,
    }
    ((kind, fields),) = state.items()
    return k8s.V1ContainerStatus(
        name=name,
        image="i",
        image_id="i",
        ready=False,
        restart_count=0,
        state=k8s.V1ContainerState(**{kind: kinds[kind](**fields)}),
    )


def add_pod(kube: KubeServer, run: Any, place: str, phase: str, **state: Any) -> str:
    """Add a pod of the run at a place in Argo's tree; its log names the place. Return its name."""
    number = len(kube.objects["pods"])
    name = f"tiny-{number}"
    statuses = [_status("wait", running={}), _status("main", **state)] if state else []
    kube.objects["pods"].insert(
        0,
        k8s.V1Pod(
            metadata=meta(
                name,
                labels={"pipeline/runid": run.run_id},
                annotations={"workflows.argoproj.io/node-name": f"tiny-x.root.{place}"},
                creation_timestamp=_START + timedelta(minutes=number),
            ),
            status=k8s.V1PodStatus(phase=phase, container_statuses=statuses),
        ),
    )
    kube.logs[name] = f"log of {place}\nlast line\n"
    return name
