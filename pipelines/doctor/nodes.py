"""GPU pools: are there nodes, and would they take the pods that a profile makes?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from kubernetes.client import V1Node

from pipelines.conventions import POOL_LABEL
from pipelines.doctor.cluster import KUBERNETES, Check, Cluster
from pipelines.doctor.wants import Wants
from pipelines.hardware import Hardware, Provider
from ranzcr.checkup import WARN, CheckError
from ranzcr.errors import nearest

_KARPENTER = "karpenter.sh"
_OWN = "node.kubernetes.io/"  # taints that Kubernetes sets for a while: not-ready, unschedulable


def checks(cluster: Cluster, wants: Wants) -> Iterator[Check]:
    for name in wants.pools:
        yield Check(
            f"node pool {name}",
            f"label its nodes {POOL_LABEL}={name}, or add a NodePool that does",
            partial(_pool, cluster, wants, name),
            (KUBERNETES,),
        )
        if wants.provider:
            yield Check(
                f"nodes of {name}",
                "name another --provider, or a YAML of your own, or correct the nodes",
                partial(_fit, cluster, wants, name),
                (KUBERNETES, f"node pool {name}"),
            )


def _pool(cluster: Cluster, wants: Wants, name: str) -> str:
    found = _labelled(cluster, name)
    if found:
        return f"{len(found)} nodes"
    made = _made_pools(cluster)
    if name in made:
        return "no node now; Karpenter makes them"
    labelled = [_labels(node).get(POOL_LABEL) for node in cluster.nodes]
    known = {pool for pool in (*labelled, *made) if pool}
    hint = nearest(name, known) if known else f"no node has the label {POOL_LABEL}"
    if wants.provider and wants.provider.autoscaled:
        hint += f"; right where {wants.provider.name} makes the first one"
        raise CheckError(f"no node has it now; {hint}", WARN)
    raise CheckError(f"no node, and no Karpenter NodePool, has it; {hint}")


def _made_pools(cluster: Cluster) -> list[str]:
    """The pools whose nodes Karpenter makes when they are needed."""
    if _KARPENTER not in cluster.groups:
        return []
    pools = cluster.every(_KARPENTER, "nodepools")
    labels = [one["spec"]["template"].get("metadata", {}).get("labels", {}) for one in pools]
    return [one[POOL_LABEL] for one in labels if POOL_LABEL in one]


def _fit(cluster: Cluster, wants: Wants, name: str) -> str:
    """Raises CheckError where no node of the pool takes what the profile puts there."""
    assert wants.provider is not None
    nodes = _labelled(cluster, name)
    fitting = []
    for hardware in {one for one in wants.used if one.pool == name}:
        misfits = [_misfit(node, wants.provider, hardware) for node in nodes]
        if misfits and all(misfits):
            raise CheckError(misfits[0])
        fitting.append(misfits.count(""))
    return f"{min(fitting)} of {len(nodes)} take its pods"


def _misfit(node: V1Node, provider: Provider, hardware: Hardware) -> str:
    """Why a node takes no pod of this hardware; "" if it does."""
    where, labels = f"node {node.metadata.name}", _labels(node)
    for key, value in provider.labels(hardware).items():
        if labels.get(key) != value:
            has = f"{key}={labels[key]}" if key in labels else f"no label {key}"
            return f"{where} has {has}; {provider.name} asks for {key}={value}"
    tolerated = {(taint.key, taint.value, taint.effect) for taint in provider.taints(hardware)}
    for taint in node.spec.taints or []:
        if taint.effect == "PreferNoSchedule" or taint.key.startswith(_OWN):
            continue
        if (taint.key, taint.value or "", taint.effect) not in tolerated:
            shown = f"{taint.key}={taint.value or ''}:{taint.effect}"
            return f"{where} has the taint {shown}, which {provider.name} does not tolerate"
    return ""


def _labelled(cluster: Cluster, pool: str) -> list[V1Node]:
    return [node for node in cluster.nodes if _labels(node).get(POOL_LABEL) == pool]


def _labels(node: V1Node) -> dict[str, str]:
    return node.metadata.labels or {}
