"""Examine a cluster before anything is submitted: is all there that a run will ask for?

It only looks. What it may not look at is a warning, not a failure: a user who submits through KFP
needs no right to read secrets.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from kubernetes import client as k8s

from pipelines import conventions, hardware, kube
from pipelines.client import connection, registry, runs, settings
from ranzcr.errors import RanzcrError, nearest
from ranzcr.tracking.doctor import render
from ranzcr.tracking.doctor.checkup import FAIL, OK, SKIP, WARN, CheckError, Finding, require

__all__ = ["FAIL", "checks", "examine", "render"]

_KFP, _KUBERNETES, _NAMESPACE = "Kubeflow Pipelines", "Kubernetes", "namespace"
_KUEUE, _KARPENTER = "kueue.x-k8s.io", "karpenter.sh"
_OPTIONAL = "ranzcr-kaggle"  # a Secret for data of kaggle:NAME alone
_APPLY = "apply the manifests of k8s/ (docs/cluster.md)"


@dataclass(frozen=True)
class Wants:
    """What the runs of a profile ask of a cluster; of None, all that any may ask but GPU nodes."""

    profile: hardware.Profile | None
    image: str | None

    @property
    def used(self) -> list[hardware.Hardware]:
        if self.profile is None:
            return []
        return [self.profile.of(stage) for stage in self.profile.stages]

    @property
    def secrets(self) -> list[str]:
        return list(conventions.SECRETS if self.profile is None else self.profile.secrets)

    @property
    def volume(self) -> str | None:
        return conventions.VOLUME_CLAIM if self.profile is None else self.profile.volume

    @property
    def queues(self) -> list[str]:
        if self.profile is None:
            return list(conventions.QUEUES)
        return sorted({one.queue for one in self.used if one.queue})

    @property
    def pools(self) -> list[str]:
        return sorted({one.pool for one in self.used if one.pool})

    @property
    def trainer(self) -> bool:
        """Whether a training spreads over nodes, as a TrainJob."""
        return any(one.nodes > 1 for one in self.used)


@dataclass(frozen=True)
class Check:
    """One question: what was seen where that is right; else `look` raises."""

    name: str
    fix: str
    look: Callable[[], str]
    needs: tuple[str, ...] = (_KUBERNETES, _NAMESPACE)


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
    def core(self) -> k8s.CoreV1Api:
        return k8s.CoreV1Api(self.api)

    @cached_property
    def groups(self) -> dict[str, str]:
        """API group -> its preferred version. Anyone who is logged in may ask."""
        found = self.call("the list of API groups", k8s.ApisApi(self.api).get_api_versions)
        return {group.name: group.preferred_version.version for group in found.groups}

    def call(self, what: str, method: Callable[..., Any], *words: str, **more: Any) -> Any:
        """What a method of the client answers, in time; else one line."""
        with kube.translated(what):
            return method(*words, **more, _request_timeout=kube.LIMITS)

    def read(self, kind: str, name: str) -> Any:
        """An object of our namespace, by the client's word for its kind."""
        method = getattr(self.core, f"read_namespaced_{kind}")
        what = f"{kind.replace('_', ' ')} {name} in namespace {self.namespace}"
        return self.call(what, method, name, self.namespace)

    def custom(self, group: str, plural: str, name: str | None = None) -> Any:
        """One object of our namespace of a kind that was added, or all of the cluster."""
        api, version = k8s.CustomObjectsApi(self.api), self.groups[group]
        if name is None:
            return self.call(plural, api.list_cluster_custom_object, group, version, plural)
        what = f"{plural.removesuffix('s')} {name} in namespace {self.namespace}"
        get = api.get_namespaced_custom_object
        return self.call(what, get, group, version, self.namespace, plural, name)


def examine(profile: str | None, image: str | None) -> Iterator[Finding]:
    """Yield what each check found, as it is found; a check that needs a failed one is skipped.

    Args:
        profile: by name or file; what its stages ask for is looked for.
        image: that components run in, looked for in its registry.

    Raises ConfigError for a profile that is not known.
    """
    lost: set[str] = set()
    for check in checks(profile, image):
        yield _make(check, lost)


def checks(profile: str | None, image: str | None) -> list[Check]:
    """The checks that `examine` makes, in order."""
    cluster = Cluster()
    wants = Wants(hardware.profile(profile) if profile else None, image)
    return [*_basic(cluster), *_objects(cluster, wants), *_operators(cluster, wants)]


def _make(check: Check, lost: set[str]) -> Finding:
    missing = [name for name in check.needs if name in lost]
    if missing:
        lost.add(check.name)
        return Finding(check.name, SKIP, f"needs: {missing[0]}", 0)
    start = time.monotonic()
    outcome, text = _outcome(check)
    if outcome == FAIL:
        lost.add(check.name)
    fix = check.fix if outcome in (WARN, FAIL) else ""
    return Finding(check.name, outcome, text, time.monotonic() - start, fix)


def _outcome(check: Check) -> tuple[str, str]:
    try:
        return OK, check.look()
    except CheckError as error:
        return error.outcome, str(error)
    except kube.ForbiddenError as error:
        return WARN, str(error)
    except RanzcrError as error:
        return FAIL, str(error)


def _basic(cluster: Cluster) -> list[Check]:
    return [
        Check(
            _KFP, "set RANZCR_KFP_HOST, or upgrade KFP (docs/submit.md)", partial(_kfp, cluster), ()
        ),
        Check(
            "runs",
            "use a token with a role in the namespace, or set RANZCR_KFP_NAMESPACE to yours",
            partial(_may_list, cluster),
            (_KFP,),
        ),
        Check(_KUBERNETES, "set KUBECONFIG", partial(_kubernetes, cluster), ()),
        Check(_NAMESPACE, _APPLY, partial(_namespace, cluster), (_KUBERNETES,)),
    ]


def _objects(cluster: Cluster, wants: Wants) -> list[Check]:
    account = conventions.SERVICE_ACCOUNT
    found = [
        Check(f"service account {account}", _APPLY, partial(_account, cluster, account)),
        Check(f"ConfigMap {conventions.CONFIG_MAP}", _APPLY, partial(_config, cluster)),
    ]
    for name in wants.secrets:
        lines = " and ".join(f"{key}=..." for key in conventions.SECRETS[name])
        create = f"kubectl -n {cluster.namespace} create secret generic {name}"
        fix = f"{create} --from-env-file=FILE, which holds {lines}"
        found.append(Check(f"Secret {name}", fix, partial(_secret, cluster, name)))
    if wants.volume:
        look = partial(_claim, cluster, wants.volume)
        found.append(Check(f"volume claim {wants.volume}", _APPLY, look))
    return found


def _operators(cluster: Cluster, wants: Wants) -> list[Check]:
    found = [
        Check(
            f"queue {name}",
            f"install Kueue, then {_APPLY}",
            partial(_queue, cluster, name),
        )
        for name in wants.queues
    ]
    found += [
        Check(
            f"node pool {name}",
            f"label its nodes {conventions.POOL_LABEL}={name}, or add a NodePool that does",
            partial(_pool, cluster, name),
            (_KUBERNETES,),
        )
        for name in wants.pools
    ]
    if wants.trainer:
        look = partial(_group, cluster, "trainer.kubeflow.org", FAIL)
        found.append(Check("Kubeflow Trainer", "install it, or use another profile", look))
    look = partial(_group, cluster, "serving.kserve.io", WARN)
    found.append(Check("KServe", "install it if the champion is to be served", look))
    if wants.image:
        fix = "push it, or give the service account a pull secret"
        found.append(Check("image", fix, partial(_image, cluster, wants.image), ()))
    return found


def _kfp(cluster: Cluster) -> str:
    kfp = cluster.kfp
    if kfp.version is None:
        raise CheckError(f"{kfp.settings.host} does not say its version", WARN)
    users = "many users" if kfp.multi_user else "one user"
    return f"{kfp.settings.host}, version {'.'.join(map(str, kfp.version))}, for {users}"


def _may_list(cluster: Cluster) -> str:
    found = runs.search(cluster.kfp, limit=1)
    newest = f"the newest is {found[0].display_name}" if found else "there are none yet"
    return f"may be listed; {newest}"


def _kubernetes(cluster: Cluster) -> str:
    version = cluster.call("its version", k8s.VersionApi(cluster.api).get_code)
    return f"{cluster.api.configuration.host}, version {version.git_version}"


def _namespace(cluster: Cluster) -> str:
    name = cluster.namespace
    cluster.call(f"namespace {name}", cluster.core.read_namespace, name)
    return name


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
    phase = found.status.phase
    require(phase != "Lost", "lost its volume")
    modes = found.spec.access_modes or []
    require("ReadWriteMany" in modes, f"is {', '.join(modes)}; many nodes write to it at a time")
    if phase != "Bound":
        raise CheckError(f"is {phase}: right where its class waits for the first pod", WARN)
    return f"is bound, {found.status.capacity['storage']}"


def _queue(cluster: Cluster, name: str) -> str:
    _group(cluster, _KUEUE, FAIL)
    found = cluster.custom(_KUEUE, "localqueues", name)
    for condition in found.get("status", {}).get("conditions", []):
        if condition["type"] == "Active" and condition["status"] != "True":
            raise CheckError(f"takes nothing: {condition.get('message', condition.get('reason'))}")
    return f"belongs to ClusterQueue {found['spec']['clusterQueue']}"


def _pool(cluster: Cluster, name: str) -> str:
    label = conventions.POOL_LABEL
    nodes = cluster.call("nodes", cluster.core.list_node).items
    labelled = [node.metadata.labels.get(label) for node in nodes if node.metadata.labels]
    if name in labelled:
        return f"{labelled.count(name)} nodes"
    made = _made_pools(cluster)
    if name in made:
        return "no node now; Karpenter makes them"
    known = {pool for pool in (*labelled, *made) if pool}
    hint = nearest(name, known) if known else f"no node has the label {label}"
    raise CheckError(f"no node, and no Karpenter NodePool, has it; {hint}")


def _made_pools(cluster: Cluster) -> list[str]:
    """The pools whose nodes Karpenter makes when they are needed."""
    if _KARPENTER not in cluster.groups:
        return []
    pools = cluster.custom(_KARPENTER, "nodepools")["items"]
    labels = [one["spec"]["template"].get("metadata", {}).get("labels", {}) for one in pools]
    return [one[conventions.POOL_LABEL] for one in labels if conventions.POOL_LABEL in one]


def _group(cluster: Cluster, group: str, outcome: str) -> str:
    if group not in cluster.groups:
        raise CheckError(f"the cluster does not know {group}", outcome)
    return f"{group}/{cluster.groups[group]}"


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
