"""The manifests as kustomize renders them, and ways to find objects and pods in them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parent.parent / "k8s"
OVERLAYS = ("kind", "gke", "eks", "onprem")

Object = dict[str, Any]

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is missing")


@cache
def render(overlay: str) -> tuple[Object, ...]:
    """Return all objects of `kubectl kustomize k8s/overlays/<overlay>`; needs no network."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(K8S / "overlays" / overlay)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.load_all(done.stdout, yaml.CSafeLoader))


def name_of(thing: Object) -> str:
    """Return a name as kubectl writes it: Deployment/mlflow."""
    return f"{thing['kind']}/{thing['metadata']['name']}"


def find(objects: Sequence[Object], name: str) -> Object:
    """Return the object of a name such as Deployment/mlflow."""
    (thing,) = [thing for thing in objects if name_of(thing) == name]
    return thing


@dataclass(frozen=True)
class Pods:
    """The pods that an object creates: its name, their namespace, labels and spec."""

    name: str
    namespace: str
    labels: dict[str, str]
    spec: Object
    serves: bool  # runs until it is stopped, unlike a Job

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def container(self, name: str) -> Object:
        (container,) = [each for each in self.containers if each["name"] == name]
        return container


def pods(objects: Sequence[Object]) -> Iterator[Pods]:
    """Yield the pods that the objects create."""
    for thing in objects:
        template = _template(thing)
        if template:
            yield Pods(
                name_of(thing),
                thing["metadata"]["namespace"],
                template["metadata"]["labels"],
                template["spec"],
                thing["kind"] not in ("Job", "CronJob"),
            )


def pods_of(objects: Sequence[Object], name: str) -> Pods:
    """Return the pods of one object, such as Deployment/mlflow."""
    (each,) = [each for each in pods(objects) if each.name == name]
    return each


def _template(thing: Object) -> Object | None:
    spec = thing.get("spec", {})
    if thing["kind"] == "CronJob":
        return spec["jobTemplate"]["spec"]["template"]
    if thing["kind"] == "InferenceService":  # KServe sets the label on its pods
        label = {"serving.kserve.io/inferenceservice": thing["metadata"]["name"]}
        return {"metadata": {"labels": label}, "spec": spec["predictor"]}
    return spec.get("template") if thing["kind"] in _WITH_TEMPLATE else None


_WITH_TEMPLATE = ("Deployment", "StatefulSet", "DaemonSet", "Job")
