"""Checks of GPU pools: whether there are nodes, and whether they accept the pods of a profile."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from kubernetes.client import V1Node

from pipelines.conventions import POOL_LABEL
from pipelines.doctor.cluster import KUBERNETES, Cluster
from pipelines.doctor.needs import Needs
from pipelines.hardware import Hardware, Provider
from ranzcr.checkup import WARN, Check, CheckError
from ranzcr.errors import nearest

_KARPENTER = "karpenter.sh"
_TEMPORARY = "node.kubernetes.io/"  # prefix of taints such as not-ready and unschedulable


def checks(cluster: Cluster, needs: Needs) -> Iterator[Check]:
    for pool in needs.pools:
        yield Check(
            f"node pool {pool}",
            f"label its nodes {POOL_LABEL}={pool}, or add a NodePool that does",
            partial(_pool, cluster, needs.provider, pool),
            (KUBERNETES,),
        )
        if needs.provider:
            used = {each for each in needs.hardware if each.pool == pool}
            yield Check(
                f"nodes of {pool}",
                "name another --provider, or a YAML of your own, or correct the nodes",
                partial(_fit, cluster, needs.provider, used, pool),
                (KUBERNETES, f"node pool {pool}"),
            )


def _pool(cluster: Cluster, provider: Provider | None, pool: str) -> str:
    nodes = _nodes_of(cluster, pool)
    if nodes:
        return f"{len(nodes)} nodes"
    karpenter_pools = _karpenter_pools(cluster)
    if pool in karpenter_pools:
        return "no node now; Karpenter adds them"
    labels = {_labels(node).get(POOL_LABEL) for node in cluster.nodes}
    known = {label for label in (*labels, *karpenter_pools) if label}
    hint = nearest(pool, known) if known else f"no node has the label {POOL_LABEL}"
    if provider and provider.autoscaled:
        hint += f"; fine if {provider.name} adds the first one"
        raise CheckError(f"no node has it now; {hint}", WARN)
    raise CheckError(f"no node, and no Karpenter NodePool, has it; {hint}")


def _karpenter_pools(cluster: Cluster) -> list[str]:
    """Return the pools whose nodes Karpenter adds when they are needed."""
    if _KARPENTER not in cluster.groups:
        return []
    templates = [pool["spec"]["template"] for pool in cluster.every(_KARPENTER, "nodepools")]
    labels = [template.get("metadata", {}).get("labels", {}) for template in templates]
    return [each[POOL_LABEL] for each in labels if POOL_LABEL in each]


def _fit(cluster: Cluster, provider: Provider, used: set[Hardware], pool: str) -> str:
    """Raise CheckError if no node of the pool accepts the pods of some hardware."""
    nodes = _nodes_of(cluster, pool)
    fitting = []
    for hardware in used:
        misfits = [_misfit(node, provider, hardware) for node in nodes]
        if misfits and all(misfits):
            raise CheckError(misfits[0])
        fitting.append(misfits.count(""))
    return f"{min(fitting)} of {len(nodes)} accept its pods"


def _misfit(node: V1Node, provider: Provider, hardware: Hardware) -> str:
    """Return why a node accepts no pod of this hardware, "" if it does."""
    where, labels = f"node {node.metadata.name}", _labels(node)
    for key, value in provider.labels(hardware).items():
        if labels.get(key) != value:
            has = f"{key}={labels[key]}" if key in labels else f"no label {key}"
            return f"{where} has {has}; {provider.name} asks for {key}={value}"
    tolerated = {(taint.key, taint.value, taint.effect) for taint in provider.taints(hardware)}
    for taint in node.spec.taints or []:
        if taint.effect == "PreferNoSchedule" or taint.key.startswith(_TEMPORARY):
            continue
        if (taint.key, taint.value or "", taint.effect) not in tolerated:
            text = f"{taint.key}={taint.value or ''}:{taint.effect}"
            return f"{where} has the taint {text}, which {provider.name} does not tolerate"
    return ""


def _nodes_of(cluster: Cluster, pool: str) -> list[V1Node]:
    return [node for node in cluster.nodes if _labels(node).get(POOL_LABEL) == pool]


def _labels(node: V1Node) -> dict[str, str]:
    return node.metadata.labels or {}
