"""A stand-in for the Kubernetes API, in the models of its official client: what we ask of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes import client as k8s
from loopback import Answer, Loopback, Refusal, Request, as_answer, routed

NAMESPACE = "/api/v1/namespaces/{namespace}"
PLURALS = {
    "secrets": "V1Secret",
    "configmaps": "V1ConfigMap",
    "serviceaccounts": "V1ServiceAccount",
    "persistentvolumeclaims": "V1PersistentVolumeClaim",
    "pods": "V1Pod",
}


@dataclass
class KubeServer(Loopback):
    """Its objects are the test's to set.

    Attributes:
        namespaces: their names.
        objects: plural -> objects of any namespace, as models of the client.
        nodes: models.
        custom: "group/plural" -> objects as JSON; a group that is named is installed.
        logs: pod -> what it said.
    """

    namespaces: list[str] = field(default_factory=lambda: ["ranzcr"])
    objects: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in PLURALS})
    nodes: list[k8s.V1Node] = field(default_factory=list)
    custom: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)

    def answer(self, request: Request) -> Answer:
        return routed(
            {
                "GET /version/?": self._version,
                "GET /apis/?": self._groups,
                "GET /api/v1/nodes": self._nodes,
                f"GET {NAMESPACE}": self._namespace,
                f"GET {NAMESPACE}/pods": self._pods,
                f"GET {NAMESPACE}/pods/{{name}}/log": self._log,
                f"GET {NAMESPACE}/{{plural}}/{{name}}": self._object,
                "GET /apis/{group}/{version}/{plural}": self._all_custom,
                "GET /apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}": self._custom,
            },
            request,
        )

    def refused(self, status: int, message: str) -> bytes:
        return json.dumps({"kind": "Status", "code": status, "message": message}).encode()

    def kubeconfig(self, path: Path) -> Path:
        """Write the file that KUBECONFIG is to name."""
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
            version = k8s.V1GroupVersionForDiscovery(f"{name}/v1beta2", "v1beta2")
            groups.append(k8s.V1APIGroup(name=name, preferred_version=version, versions=[version]))
        return _write(k8s.V1APIGroupList(groups=groups))

    def _nodes(self, request: Request) -> Answer:
        return _write(k8s.V1NodeList(items=self.nodes))

    def _namespace(self, request: Request, name: str) -> Answer:
        if name not in self.namespaces:
            raise Refusal(404, f'namespaces "{name}" not found')
        return _write(k8s.V1Namespace(metadata=k8s.V1ObjectMeta(name=name)))

    def _pods(self, request: Request, namespace: str) -> Answer:
        key, value = request.query["labelSelector"].split("=")
        found = [
            pod
            for pod in self.objects["pods"]
            if pod.metadata.namespace == namespace and pod.metadata.labels.get(key) == value
        ]
        return _write(k8s.V1PodList(items=found))

    def _log(self, request: Request, namespace: str, name: str) -> Answer:
        if request.query.get("container") != "main":
            raise Refusal(400, "a container name must be specified")
        return Answer(self.logs[name].encode(), kind="text/plain")

    def _object(self, request: Request, namespace: str, plural: str, name: str) -> Answer:
        for one in self.objects[plural]:
            if (one.metadata.namespace, one.metadata.name) == (namespace, name):
                return _write(one)
        raise Refusal(404, f'{plural} "{name}" not found')

    def _all_custom(self, request: Request, group: str, version: str, plural: str) -> Answer:
        return as_answer({"items": self.custom[f"{group}/{plural}"]})

    def _custom(
        self, request: Request, group: str, version: str, namespace: str, plural: str, name: str
    ) -> Answer:
        for one in self.custom.get(f"{group}/{plural}", []):
            if one["metadata"] == {"namespace": namespace, "name": name}:
                return as_answer(one)
        raise Refusal(404, f'{plural}.{group} "{name}" not found')


def meta(name: str, **more: Any) -> k8s.V1ObjectMeta:
    return k8s.V1ObjectMeta(name=name, namespace="ranzcr", **more)


def _write(model: Any) -> Answer:
    return as_answer(k8s.ApiClient(k8s.Configuration()).sanitize_for_serialization(model))
