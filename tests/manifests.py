"""The manifests as kustomize renders them, and what the tests look for in them."""

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
    """All objects of `kubectl kustomize k8s/overlays/<overlay>`. Needs kubectl, and no network."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(K8S / "overlays" / overlay)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.load_all(done.stdout, yaml.CSafeLoader))


def name_of(thing: Object) -> str:
    """As kubectl writes it: Deployment/mlflow."""
    return f"{thing['kind']}/{thing['metadata']['name']}"


def find(objects: Sequence[Object], name: str) -> Object:
    """The object of that name, such as Deployment/mlflow."""
    (found,) = [thing for thing in objects if name_of(thing) == name]
    return found


@dataclass(frozen=True)
class Pods:
    """What an object makes pods of: its name, their namespace, labels and spec."""

    name: str
    namespace: str
    labels: dict[str, str]
    spec: Object
    serves: bool  # until it is stopped, rather than to an end

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def container(self, name: str) -> Object:
        (found,) = [each for each in self.containers if each["name"] == name]
        return found


def pods(objects: Sequence[Object]) -> Iterator[Pods]:
    """The pods that the objects ask for."""
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
    """The pods of one object, such as Deployment/mlflow."""
    (found,) = [each for each in pods(objects) if each.name == name]
    return found


def _template(thing: Object) -> Object | None:
    spec = thing.get("spec", {})
    if thing["kind"] == "CronJob":
        return spec["jobTemplate"]["spec"]["template"]
    if thing["kind"] == "InferenceService":  # KServe puts the label on its pods
        label = {"serving.kserve.io/inferenceservice": thing["metadata"]["name"]}
        return {"metadata": {"labels": label}, "spec": spec["predictor"]}
    return spec.get("template") if thing["kind"] in _WITH_TEMPLATE else None


_WITH_TEMPLATE = ("Deployment", "StatefulSet", "DaemonSet", "Job")
