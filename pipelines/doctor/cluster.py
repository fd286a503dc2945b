"""Reads from Kubernetes and KFP, for the checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from kubernetes import client as k8s

from pipelines import kube
from pipelines.client import connection, settings
from ranzcr.checkup import CheckError

KFP, KUBERNETES, NAMESPACE = "Kubeflow Pipelines", "Kubernetes", "namespace"  # names of checks
APPLY = "apply the manifests of k8s/ (docs/cluster.md)"


class Cluster:
    """A cluster; connects at the first request."""

    def __init__(self) -> None:
        self.namespace = settings.namespace()

    @cached_property
    def kfp(self) -> connection.Kfp:
        return connection.connect(settings.from_environment())

    @cached_property
    def api(self) -> k8s.ApiClient:
        return kube.connect()

    @cached_property
    def groups(self) -> dict[str, str]:
        """The preferred version of each API group; every user may read them."""
        answer = self.call("the list of API groups", k8s.ApisApi(self.api).get_api_versions)
        return {group.name: group.preferred_version.version for group in answer.groups}

    @cached_property
    def nodes(self) -> list[k8s.V1Node]:
        nodes: list[k8s.V1Node] = self.call("nodes", k8s.CoreV1Api(self.api).list_node).items
        return nodes

    def call(self, what: str, method: Callable[..., Any], *args: str) -> Any:
        """Call a method of the client with time limits; raises ClusterError of one line."""
        with kube.translated(what):
            return method(*args, _request_timeout=kube.LIMITS)

    def read(self, kind: str, name: str) -> Any:
        """Return an object of our namespace; `kind` is spelled as the client's methods are."""
        api = (k8s.BatchV1Api if kind == "job" else k8s.CoreV1Api)(self.api)
        what = f"{kind.replace('_', ' ')} {name} in namespace {self.namespace}"
        return self.call(what, getattr(api, f"read_namespaced_{kind}"), name, self.namespace)

    def require_group(self, group: str, outcome: str) -> str:
        """Return an API group with its version. Raises CheckError if the cluster has none."""
        if group not in self.groups:
            raise CheckError(f"the cluster does not know {group}", outcome)
        return f"{group}/{self.groups[group]}"

    def custom(self, group: str, plural: str, name: str) -> Any:
        """Return a custom object of our namespace."""
        what = f"{plural.removesuffix('s')} {name} in namespace {self.namespace}"
        get = k8s.CustomObjectsApi(self.api).get_namespaced_custom_object
        return self.call(what, get, group, self.groups[group], self.namespace, plural, name)

    def every(self, group: str, plural: str) -> list[dict[str, Any]]:
        """Return all custom objects of a kind in the cluster."""
        get = k8s.CustomObjectsApi(self.api).list_cluster_custom_object
        answer = self.call(plural, get, group, self.groups[group], plural)
        objects: list[dict[str, Any]] = answer["items"]
        return objects
