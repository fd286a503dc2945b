"""The manifest of a TrainJob: the settings of the task's pod, for several nodes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp.dsl import TaskConfig
from kubeflow.trainer.constants import constants
from kubeflow_trainer_api import models

from pipelines.conventions import QUEUE_LABEL, RUN_LABEL, SECRETS, SHM_PATH
from pipelines.trainer.settings import TrainJobSettings
from ranzcr.errors import ConfigError

MANAGER = "ranzcr/train"  # of our patch of the runtime
_CREDENTIALS = (*SECRETS["ranzcr-mlflow"], "MLFLOW_TRACKING_TOKEN")
# Variables that KFP's MLflow plugin may set in the task's pod, and KFP does not pass through.
_HANDED_ON = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")

Json = dict[str, Any]


@dataclass(frozen=True)
class Owner:
    """The task's pod; when it is deleted, Kubernetes deletes the job."""

    name: str
    uid: str


def build(
    name: str,
    settings: TrainJobSettings,
    devices: int,
    task: TaskConfig,
    command: Sequence[str],
    home: Path,
    owner: Owner,
) -> Json:
    """Return the TrainJob as JSON.

    Args:
        name: of the job.
        devices: processes of torchrun on each node, one per GPU.
        task: settings that KFP passed through: resources, volumes, variables, node selection.
        command: of each node.
        home: RANZCR_HOME, which all nodes must see.

    Raises ConfigError if the nodes do not share the home, or need a password in clear text.
    """
    _check_shared(home, task)
    job = {
        "apiVersion": constants.API_VERSION,
        "kind": constants.TRAINJOB_KIND,
        "metadata": _metadata(name, settings, owner),
        "spec": {
            "runtimeRef": {
                "apiGroup": constants.GROUP,
                "kind": "ClusterTrainingRuntime",
                "name": constants.DEFAULT_TRAINING_RUNTIME,
            },
            "activeDeadlineSeconds": settings.timeout_seconds,
            "trainer": {
                "image": os.environ["RANZCR_IMAGE"],
                "command": list(command),
                "numNodes": settings.nodes,
                "numProcPerNode": devices,
                "resourcesPerNode": task.resources or {},
                "env": environment(task.env or [], os.environ, home),
            },
            "runtimePatches": [_patch(settings, task)],
        },
    }
    return models.TrainerV1alpha1TrainJob.from_dict(job).to_dict()


def environment(passed: Sequence[Json], own: Mapping[str, str], home: Path) -> list[Json]:
    """Return the environment variables of the nodes, from the TrainJob's task and its pod.

    Credentials are passed only as references to their secret. A field of the task's pod, such as
    the run's id, is not a field of the nodes' pods, so its value is passed. Empty values are left
    out: before version 0.19.3 Kueue removes them from the job, and Trainer forbids this change.
    """
    variables: dict[str, Json] = {}
    by_value = list(_HANDED_ON)
    for variable in passed:
        name = variable["name"]
        if "fieldRef" in variable.get("valueFrom", {}):
            by_value.append(name)
        elif name not in _CREDENTIALS or "valueFrom" in variable:
            variables[name] = variable
    bare = [name for name in _CREDENTIALS if name in own]
    if bare and not any(name in variables for name in _CREDENTIALS):
        raise ConfigError(
            f"{bare[0]} is not from a secret, and nodes get no password in clear; "
            "name ranzcr-mlflow: [train] under the profile's secrets"
        )
    for name in by_value:
        if own.get(name):
            variables[name] = {"name": name, "value": own[name]}
    return [*variables.values(), {"name": "RANZCR_HOME", "value": str(home)}]


def _check_shared(home: Path, task: TaskConfig) -> None:
    mounts = [Path(mount["mountPath"]) for mount in task.volume_mounts or []]
    if not any(home.is_relative_to(mount) for mount in mounts):
        raise ConfigError(
            f"RANZCR_HOME={home} is on no volume that the nodes share; "
            "give the profile a volume that many nodes may write"
        )


def _metadata(name: str, settings: TrainJobSettings, owner: Owner) -> Json:
    labels = {"app.kubernetes.io/part-of": "ranzcr"}
    if settings.queue:
        labels[QUEUE_LABEL] = settings.queue
    if os.environ.get("KFP_RUN_ID"):
        labels[RUN_LABEL] = os.environ["KFP_RUN_ID"]
    reference = {"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}
    return {"name": name, "labels": labels, "ownerReferences": [reference]}


def _patch(settings: TrainJobSettings, task: TaskConfig) -> Json:
    """Return the parts of a pod that Trainer does not set: nodes, volumes, security."""
    volumes, mounts = list(task.volumes or []), list(task.volume_mounts or [])
    if settings.shm:  # KFP passes no emptyDir through
        memory = {"medium": "Memory", "sizeLimit": settings.shm}
        volumes.append({"name": "shm", "emptyDir": memory})
        mounts.append({"name": "shm", "mountPath": SHM_PATH})
    pod = {
        "nodeSelector": task.node_selector,
        "tolerations": task.tolerations,
        "affinity": task.affinity,
        "volumes": volumes,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": constants.NODE,
                "volumeMounts": mounts,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    }
    template: Json = {"spec": {"template": {"spec": pod}}}
    jobs = [{"name": constants.NODE, "template": template}]
    return {
        "manager": MANAGER,
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}},
    }
