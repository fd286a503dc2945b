"""What others make and a cluster must have: Kueue, Kubeflow Trainer, KServe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from kubernetes import client as k8s

from pipelines.doctor.cluster import APPLY, Check, Cluster
from pipelines.doctor.wants import Wants
from ranzcr.checkup import FAIL, WARN, CheckError, require
from ranzcr.errors import nearest

_KUEUE, _KSERVE = "kueue.x-k8s.io", "serving.kserve.io"


def checks(cluster: Cluster, wants: Wants) -> Iterator[Check]:
    for name in wants.queues:
        yield Check(f"queue {name}", f"install Kueue, then {APPLY}", partial(_queue, cluster, name))
    if wants.trainer:
        fix = "install it with its runtimes (docs/multi-node.md), or use another profile"
        yield Check("Kubeflow Trainer", fix, partial(_trainer, cluster))
    look = partial(cluster.require_group, _KSERVE, WARN)
    yield Check("KServe", "install it if the champion is to be served", look)


def _queue(cluster: Cluster, name: str) -> str:
    cluster.require_group(_KUEUE, FAIL)
    found = cluster.custom(_KUEUE, "localqueues", name)
    for condition in found.get("status", {}).get("conditions", []):
        if condition["type"] == "Active" and condition["status"] != "True":
            raise CheckError(f"takes nothing: {condition.get('message', condition.get('reason'))}")
    return f"belongs to ClusterQueue {found['spec']['clusterQueue']}"


def _trainer(cluster: Cluster) -> str:
    """The kind and the runtime that a training over nodes names."""
    from kubeflow.trainer.constants import constants

    group, version = constants.GROUP, constants.VERSION
    cluster.require_group(group, FAIL)
    list_kinds = k8s.CustomObjectsApi(cluster.api).get_api_resources
    kinds = cluster.call(f"API {group}/{version}", list_kinds, group, version).resources
    plural = constants.TRAINJOB_PLURAL
    require(plural in [one.name for one in kinds], f"{group}/{version} has no {plural}")
    runtime = constants.DEFAULT_TRAINING_RUNTIME
    found = cluster.every(group, constants.CLUSTER_TRAINING_RUNTIME_PLURAL)
    names = [one["metadata"]["name"] for one in found]
    hint = nearest(runtime, names) if names else "there is none"
    require(runtime in names, f"there is no ClusterTrainingRuntime {runtime}; {hint}")
    return f"{group}/{version}, with the runtime {runtime}"
