"""What a run finds in its namespace: an account, settings, secrets, a volume, an image."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from pipelines import conventions, kube
from pipelines.client import registry
from pipelines.doctor.cluster import APPLY, KUBERNETES, NAMESPACE, Check, Cluster
from pipelines.doctor.wants import Wants
from ranzcr.checkup import WARN, CheckError, require

_OPTIONAL = "ranzcr-kaggle"  # a Secret for data of kaggle:NAME alone
_SHARED, _OF_A_NODE = "ReadWriteMany", "ReadWriteOnce"


def checks(cluster: Cluster, wants: Wants) -> Iterator[Check]:
    account = conventions.SERVICE_ACCOUNT
    yield Check(f"service account {account}", APPLY, partial(_account, cluster, account))
    yield Check(f"ConfigMap {conventions.CONFIG_MAP}", APPLY, partial(_config, cluster))
    for name in wants.secrets:
        lines = " and ".join(f"{key}=..." for key in conventions.SECRETS[name])
        create = f"kubectl -n {cluster.namespace} create secret generic {name}"
        fix = f"{create} --from-env-file=FILE, which holds {lines}"
        yield Check(f"Secret {name}", fix, partial(_secret, cluster, name))
    if wants.volume:
        yield from _volume_checks(cluster, wants.volume)
    if wants.image:
        fix = "push it, or give the service account a pull secret"
        yield Check("image", fix, partial(_image, cluster, wants.image), ())


def _volume_checks(cluster: Cluster, name: str) -> Iterator[Check]:
    claim = f"volume claim {name}"
    fix = f"{APPLY}; its class must let many nodes write"
    yield Check(claim, fix, partial(_claim, cluster, name))
    job = f"{name}-ready"
    yield Check(
        f"Job {job}",
        f"{APPLY}; where it failed, kubectl -n {cluster.namespace} logs job/{job} tells why",
        partial(_written, cluster, name, job),
        (KUBERNETES, NAMESPACE, claim),
    )


def _account(cluster: Cluster, name: str) -> str:
    cluster.read("service_account", name)
    return "is there"


def _config(cluster: Cluster) -> str:
    found = cluster.read("config_map", conventions.CONFIG_MAP)
    return _keys(found.data, conventions.CONFIG_KEYS)


def _secret(cluster: Cluster, name: str) -> str:
    try:
        found = cluster.read("secret", name)
    except kube.AbsentError as error:
        if name != _OPTIONAL:
            raise
        raise CheckError(f"{error}: data of kaggle:NAME cannot be fetched", WARN) from None
    data = {key: base64.b64decode(value) for key, value in (found.data or {}).items()}
    return _keys(data, conventions.SECRETS[name])


def _keys(data: dict[str, Any] | None, wanted: Iterable[str]) -> str:
    """Values are not told."""
    for key in wanted:
        require(key in (data or {}), f"has no key {key}; it has {', '.join(data or {}) or 'none'}")
        require(bool((data or {})[key]), f"key {key} is empty")
    return f"has {', '.join(wanted)}"


def _claim(cluster: Cluster, name: str) -> str:
    found = cluster.read("persistent_volume_claim", name)
    phase, modes = found.status.phase, found.spec.access_modes or []
    require(phase != "Lost", "lost its volume")
    if _SHARED not in modes:
        _check_alone(cluster, modes)
    if phase != "Bound":
        raise CheckError(f"is {phase}: right where its class waits for the first pod", WARN)
    return f"is bound, {found.status.capacity['storage']}"


def _check_alone(cluster: Cluster, modes: list[str]) -> None:
    """A volume that one node may write is right where there is one; else runs wait for it."""
    require(_OF_A_NODE in modes, f"is {', '.join(modes)}; the pods of a run write to it")
    try:
        if len(cluster.nodes) == 1:
            return
        seen = f"there are {len(cluster.nodes)}"
    except kube.ForbiddenError:
        seen = "how many there are may not be looked at"
    raise CheckError(
        f"is {_OF_A_NODE}: all pods that use it wait for one node, so trainings share its GPUs, "
        f"and none spreads over nodes; {seen}",
        WARN,
    )


def _written(cluster: Cluster, volume: str, job: str) -> str:
    """Whether a pod like those of a run could write to the volume: a Job of ours tried."""
    try:
        status = cluster.read("job", job).status
    except kube.AbsentError as error:
        claim = cluster.read("persistent_volume_claim", volume)
        if _SHARED not in (claim.spec.access_modes or []):
            return "not needed: one node has the volume"
        raise CheckError(f"{error}: nothing has tried to write to the volume", WARN) from None
    ended = [one.type for one in status.conditions or [] if one.status == "True"]
    require("Failed" not in ended, "failed: a run's pods cannot write to the volume")
    if "Complete" not in ended:
        raise CheckError("has not ended yet: whether pods can write is not known", WARN)
    return "wrote to the volume, as a run's pods will"


def _image(cluster: Cluster, image: str) -> str:
    require("@sha256:" in image, f"{image} is not pinned; name it with @sha256:...")
    seen = registry.presence(image)
    if seen is registry.Presence.THERE:
        return seen.value
    require(seen is not registry.Presence.MISSING, f"{image} {seen.value}")
    account = cluster.read("service_account", conventions.SERVICE_ACCOUNT)
    secrets = ", ".join(one.name for one in account.image_pull_secrets or [])
    pulls = f"pods pull with {secrets}" if secrets else "and pods have no pull secret"
    raise CheckError(f"{seen.value}; {pulls}", WARN)
