"""Checks of what a run uses in its namespace: an account, settings, Secrets, a volume, an image."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from pipelines import conventions, kube
from pipelines.client import registry
from pipelines.doctor.cluster import APPLY, KUBERNETES, NAMESPACE, Cluster
from pipelines.doctor.needs import Needs
from ranzcr.checkup import WARN, Check, CheckError, require

_OPTIONAL = "ranzcr-kaggle"  # a Secret that only data of kaggle:NAME need
_MANY_NODES, _ONE_NODE = "ReadWriteMany", "ReadWriteOnce"
_IN_NAMESPACE = (KUBERNETES, NAMESPACE)


def checks(cluster: Cluster, needs: Needs) -> Iterator[Check]:
    account, settings = conventions.SERVICE_ACCOUNT, conventions.CONFIG_MAP
    look = partial(_account, cluster, account)
    yield Check(f"service account {account}", APPLY, look, _IN_NAMESPACE)
    yield Check(f"ConfigMap {settings}", APPLY, partial(_config, cluster), _IN_NAMESPACE)
    for name in needs.secrets:
        lines = " and ".join(f"{key}=..." for key in conventions.SECRETS[name])
        create = f"kubectl -n {cluster.namespace} create secret generic {name}"
        fix = f"{create} --from-env-file=FILE, which holds {lines}"
        yield Check(f"Secret {name}", fix, partial(_secret, cluster, name), _IN_NAMESPACE)
    if needs.volume:
        yield from _volume_checks(cluster, needs.volume)
    if needs.image:
        fix = "push it, or give the service account a pull secret"
        yield Check("image", fix, partial(_image, cluster, needs.image))


def _volume_checks(cluster: Cluster, name: str) -> Iterator[Check]:
    claim, job = f"volume claim {name}", f"{name}-ready"
    fix = f"{APPLY}; its class must let many nodes write"
    yield Check(claim, fix, partial(_claim, cluster, name), _IN_NAMESPACE)
    yield Check(
        f"Job {job}",
        f"{APPLY}; if it failed, kubectl -n {cluster.namespace} logs job/{job} says why",
        partial(_written, cluster, name, job),
        (*_IN_NAMESPACE, claim),
    )


def _account(cluster: Cluster, name: str) -> str:
    cluster.read("service_account", name)
    return "exists"


def _config(cluster: Cluster) -> str:
    data = cluster.read("config_map", conventions.CONFIG_MAP).data or {}
    return _require_keys(data, conventions.CONFIG_KEYS)


def _secret(cluster: Cluster, name: str) -> str:
    try:
        data = cluster.read("secret", name).data or {}
    except kube.AbsentError as error:
        if name != _OPTIONAL:
            raise
        raise CheckError(f"{error}: data of kaggle:NAME cannot be fetched", WARN) from None
    values = {key: base64.b64decode(value) for key, value in data.items()}
    return _require_keys(values, conventions.SECRETS[name])


def _require_keys(data: Mapping[str, str | bytes], keys: Iterable[str]) -> str:
    """Check that each key has a value, without showing values."""
    for key in keys:
        require(key in data, f"has no key {key}; it has {', '.join(data) or 'none'}")
        require(bool(data[key]), f"key {key} is empty")
    return f"has {', '.join(keys)}"


def _claim(cluster: Cluster, name: str) -> str:
    claim = cluster.read("persistent_volume_claim", name)
    phase, modes = claim.status.phase, claim.spec.access_modes or []
    require(phase != "Lost", "lost its volume")
    if _MANY_NODES not in modes:
        _check_one_node(cluster, modes)
    if phase != "Bound":
        raise CheckError(f"is {phase}: fine if its class waits for the first pod", WARN)
    return f"is bound, {claim.status.capacity['storage']}"


def _check_one_node(cluster: Cluster, modes: list[str]) -> None:
    """Warn of a volume that only one node can write to, unless the cluster has only one."""
    require(_ONE_NODE in modes, f"is {', '.join(modes)}; the pods of a run write to it")
    try:
        if len(cluster.nodes) == 1:
            return
        nodes = f"there are {len(cluster.nodes)}"
    except kube.ForbiddenError:
        nodes = "we may not see how many there are"
    raise CheckError(
        f"is {_ONE_NODE}: all pods that use it wait for one node, so trainings share its GPUs, "
        f"and none can use several nodes; {nodes}",
        WARN,
    )


def _written(cluster: Cluster, volume: str, job: str) -> str:
    """Check that the Job of the manifests could write to the volume, as a run's pods will."""
    try:
        status = cluster.read("job", job).status
    except kube.AbsentError as error:
        claim = cluster.read("persistent_volume_claim", volume)
        if _MANY_NODES not in (claim.spec.access_modes or []):
            return "not needed: one node has the volume"
        raise CheckError(f"{error}: nothing has tried to write to the volume", WARN) from None
    ended = [each.type for each in status.conditions or [] if each.status == "True"]
    require("Failed" not in ended, "failed: a run's pods cannot write to the volume")
    if "Complete" not in ended:
        raise CheckError("has not ended yet: it will show whether pods can write", WARN)
    return "wrote to the volume, as a run's pods will"


def _image(cluster: Cluster, image: str) -> str:
    require("@sha256:" in image, f"{image} is not pinned; name it with @sha256:...")
    presence = registry.presence(image)
    if presence is registry.Presence.PRESENT:
        return str(presence.value)
    require(presence is not registry.Presence.MISSING, f"{image} {presence.value}")
    account = cluster.read("service_account", conventions.SERVICE_ACCOUNT)
    secrets = ", ".join(secret.name for secret in account.image_pull_secrets or [])
    pulls = f"pods pull with {secrets}" if secrets else "and pods have no pull secret"
    raise CheckError(f"{presence.value}; {pulls}", WARN)
