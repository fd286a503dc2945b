"""Kubernetes and KFP, looked at; and what one look is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kubernetes import client as k8s

from pipelines import kube
from pipelines.client import connection, settings
from ranzcr.checkup import CheckError

KFP, KUBERNETES, NAMESPACE = "Kubeflow Pipelines", "Kubernetes", "namespace"  # names of checks
APPLY = "apply the manifests of k8s/ (docs/cluster.md)"


@dataclass(frozen=True)
class Check:
    """One question: what was seen where that is right; else `look` raises."""

    name: str
    fix: str
    look: Callable[[], str]
    needs: tuple[str, ...] = (KUBERNETES, NAMESPACE)


class Cluster:
    """A cluster, connected to when first asked."""

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
        """API group -> its preferred version. Anyone who is logged in may ask."""
        found = self.call("the list of API groups", k8s.ApisApi(self.api).get_api_versions)
        return {group.name: group.preferred_version.version for group in found.groups}

    @cached_property
    def nodes(self) -> list[k8s.V1Node]:
        return self.call("nodes", k8s.CoreV1Api(self.api).list_node).items

    def call(self, what: str, method: Callable[..., Any], *words: str) -> Any:
        """What a method of the client answers, in time; else one line."""
        with kube.translated(what):
            return method(*words, _request_timeout=kube.LIMITS)

    def read(self, kind: str, name: str) -> Any:
        """An object of our namespace, by the client's word for its kind."""
        api = (k8s.BatchV1Api if kind == "job" else k8s.CoreV1Api)(self.api)
        what = f"{kind.replace('_', ' ')} {name} in namespace {self.namespace}"
        return self.call(what, getattr(api, f"read_namespaced_{kind}"), name, self.namespace)

    def require_group(self, group: str, outcome: str) -> str:
        """The group and its version. Raises CheckError where the cluster has no such kinds."""
        if group not in self.groups:
            raise CheckError(f"the cluster does not know {group}", outcome)
        return f"{group}/{self.groups[group]}"

    def custom(self, group: str, plural: str, name: str) -> Any:
        """One object of our namespace, of a kind that was added."""
        what = f"{plural.removesuffix('s')} {name} in namespace {self.namespace}"
        get = k8s.CustomObjectsApi(self.api).get_namespaced_custom_object
        return self.call(what, get, group, self.groups[group], self.namespace, plural, name)

    def every(self, group: str, plural: str) -> list[dict[str, Any]]:
        """All objects of the cluster, of a kind that was added."""
        list_them = k8s.CustomObjectsApi(self.api).list_cluster_custom_object
        return self.call(plural, list_them, group, self.groups[group], plural)["items"]
