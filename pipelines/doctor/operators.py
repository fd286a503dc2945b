"""Checks of what others install in a cluster: Kueue, Kubeflow Trainer, KServe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from kubernetes import client as k8s

from pipelines.doctor.cluster import APPLY, KUBERNETES, NAMESPACE, Cluster
from pipelines.doctor.needs import Needs
from ranzcr.checkup import FAIL, WARN, Check, CheckError, require
from ranzcr.errors import nearest

_KUEUE, _KSERVE = "kueue.x-k8s.io", "serving.kserve.io"


def checks(cluster: Cluster, needs: Needs) -> Iterator[Check]:
    for name in needs.queues:
        fix = f"install Kueue, then {APPLY}"
        look = partial(_queue, cluster, name)
        yield Check(f"queue {name}", fix, look, (KUBERNETES, NAMESPACE))
    if needs.trainer:
        fix = "install it with its runtimes (docs/multi-node.md), or use another profile"
        yield Check("Kubeflow Trainer", fix, partial(_trainer, cluster), (KUBERNETES,))
    look = partial(cluster.require_group, _KSERVE, WARN)
    yield Check("KServe", "install it if the champion is to be served", look, (KUBERNETES,))


def _queue(cluster: Cluster, name: str) -> str:
    cluster.require_group(_KUEUE, FAIL)
    queue = cluster.custom(_KUEUE, "localqueues", name)
    for condition in queue.get("status", {}).get("conditions", []):
        if condition["type"] == "Active" and condition["status"] != "True":
            reason = condition.get("message", condition.get("reason"))
            raise CheckError(f"accepts no work: {reason}")
    return f"belongs to ClusterQueue {queue['spec']['clusterQueue']}"


def _trainer(cluster: Cluster) -> str:
    """Check for the kind and the runtime that a training on several nodes uses."""
    from kubeflow.trainer.constants import constants

    group, version = constants.GROUP, constants.VERSION
    cluster.require_group(group, FAIL)
    list_kinds = k8s.CustomObjectsApi(cluster.api).get_api_resources
    kinds = cluster.call(f"API {group}/{version}", list_kinds, group, version).resources
    plural = constants.TRAINJOB_PLURAL
    require(plural in [kind.name for kind in kinds], f"{group}/{version} has no {plural}")
    runtime = constants.DEFAULT_TRAINING_RUNTIME
    runtimes = cluster.every(group, constants.CLUSTER_TRAINING_RUNTIME_PLURAL)
    names = [each["metadata"]["name"] for each in runtimes]
    hint = nearest(runtime, names) if names else "there is none"
    require(runtime in names, f"there is no ClusterTrainingRuntime {runtime}; {hint}")
    return f"{group}/{version}, with the runtime {runtime}"
