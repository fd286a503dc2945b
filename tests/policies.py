"""The rules for every manifest; each yields its violations, one line each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from manifests import Object, Pods, name_of, pods

Rule = Callable[[Sequence[Object]], Iterator[str]]

CLUSTER_SCOPED = {
    *("Namespace", "ClusterRole", "ClusterRoleBinding", "ClusterQueue", "ResourceFlavor"),
    *("NodePool", "EC2NodeClass"),
}
# KFP creates it in the namespaces where it runs pipelines.
_BY_KFP = {"mlpipeline-minio-artifact"}
_SECRET = re.compile(r"password|secret|token|access_key|api_?key|credential", re.IGNORECASE)
_PASSWORD_IN_URI = re.compile(r"://[^/\s:@]+:[^/\s@$]+@")


def images_are_pinned(objects: Sequence[Object]) -> Iterator[str]:
    """Images have a digest, never a tag, so that what was tested is what runs."""
    for each, container in _containers(objects):
        if not re.search(r"@sha256:[0-9a-f]{64}$", container["image"]):
            yield f"{each.name}: image {container['image']} has no digest"


def resources_are_set(objects: Sequence[Object]) -> Iterator[str]:
    """Containers have requests and limits of CPU and memory."""
    for each, container in _containers(objects):
        for kind in ("requests", "limits"):
            missing = {"cpu", "memory"} - container.get("resources", {}).get(kind, {}).keys()
            for resource in sorted(missing):
                yield f"{each.name}: container {container['name']} has no {resource} in {kind}"


def pods_are_restricted(objects: Sequence[Object]) -> Iterator[str]:
    """Pods meet the Pod Security Standard `restricted`, as far as their own settings go."""
    for each in pods(objects):
        context = each.spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
            yield f"{each.name}: may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{each.name}: no seccomp profile"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if each.spec.get(key):
                yield f"{each.name}: {key}"
        for volume in each.spec.get("volumes", []):
            if "hostPath" in volume:
                yield f"{each.name}: volume {volume['name']} is a folder of the node"


def containers_are_restricted(objects: Sequence[Object]) -> Iterator[str]:
    """Containers meet it too, and their root file system is read-only."""
    for each, container in _containers(objects):
        context = container.get("securityContext", {})
        capabilities = context.get("capabilities", {})
        where = f"{each.name}: container {container['name']}"
        if context.get("privileged") or context.get("allowPrivilegeEscalation") is not False:
            yield f"{where} may gain privileges"
        if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
            yield f"{where} keeps capabilities"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{where} may write to its image"
        if context.get("runAsNonRoot") is False or context.get("runAsUser") == 0:
            yield f"{where} may run as root"


def scratch_is_bounded(objects: Sequence[Object]) -> Iterator[str]:
    """Every emptyDir has a size limit: a full one must stop its pod, not the node."""
    for each in pods(objects):
        for volume in each.spec.get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{each.name}: volume {volume['name']} has no sizeLimit"


def services_are_probed(objects: Sequence[Object]) -> Iterator[str]:
    """Servers have probes for ready, alive and started."""
    for each in pods(objects):
        for container in each.spec["containers"] if each.serves else []:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe not in container:
                    yield f"{each.name}: container {container['name']} has no {probe}"


def tokens_are_not_mounted(objects: Sequence[Object]) -> Iterator[str]:
    """Pods have no token, because none of ours calls the Kubernetes API."""
    for each in pods(objects):
        if each.spec.get("automountServiceAccountToken") is not False:
            yield f"{each.name}: has a token of its service account"


def pods_have_a_network_policy(objects: Sequence[Object]) -> Iterator[str]:
    """The namespace denies all traffic, and a policy says what each kind of pod may do."""
    policies = [thing for thing in objects if thing["kind"] == "NetworkPolicy"]
    for each in pods(objects):
        local = [it for it in policies if it["metadata"]["namespace"] == each.namespace]
        if not any(_denies_all(policy["spec"]) for policy in local):
            yield f"{each.name}: namespace {each.namespace} denies nothing by default"
        selectors = [policy["spec"]["podSelector"] for policy in local]
        if not any(_selects(selector, each.labels) for selector in selectors if selector):
            yield f"{each.name}: no network policy selects it"


def secrets_have_no_values(objects: Sequence[Object]) -> Iterator[str]:
    """Secrets get their values from a vault or by hand, never from the repository."""
    for thing in objects:
        if thing["kind"] == "Secret" and (thing.get("data") or thing.get("stringData")):
            yield f"{name_of(thing)}: has values"
        for path, text in _strings(thing):
            if _PASSWORD_IN_URI.search(text):
                yield f"{name_of(thing)}: a password in {path}"
        if thing["kind"] == "ConfigMap":
            for key in thing.get("data", {}):
                if _SECRET.search(key):
                    yield f"{name_of(thing)}: {key} belongs in a Secret"
    for each, container in _containers(objects):
        for variable in container.get("env", []):
            if "value" in variable and _SECRET.search(variable["name"]):
                yield f"{each.name}: variable {variable['name']} has its value in the manifest"


def references_exist(objects: Sequence[Object]) -> Iterator[str]:
    """Pods and bindings refer to existing objects; Secrets come from a vault or by hand."""
    existing = {(it["metadata"].get("namespace"), name_of(it)) for it in objects}
    existing |= {
        (it["metadata"]["namespace"], f"Secret/{it['spec']['target']['name']}")
        for it in objects
        if it["kind"] == "ExternalSecret"
    }
    by_vault = any(it["kind"] == "ExternalSecret" for it in objects)
    for name, namespace, wanted in _references(objects):
        if wanted.startswith("Secret/") and not by_vault:
            continue  # docs/cluster.md creates them
        if (namespace, wanted) not in existing:
            yield f"{name}: there is no {wanted} in {namespace}"


def roles_are_narrow(objects: Sequence[Object]) -> Iterator[str]:
    """Roles have no wildcards, name their Secrets, and cannot enter other pods."""
    for thing in objects:
        for rule in thing.get("rules", []) if thing["kind"] in ("Role", "ClusterRole") else []:
            if "*" in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]:
                yield f"{name_of(thing)}: has a wildcard"
            if "secrets" in rule["resources"] and not rule.get("resourceNames"):
                yield f"{name_of(thing)}: may read all Secrets"
            if {"pods/exec", "pods/attach", "pods/ephemeralcontainers"} & set(rule["resources"]):
                yield f"{name_of(thing)}: may enter other pods"


def namespaces_are_set(objects: Sequence[Object]) -> Iterator[str]:
    """Each object names its namespace, unless it belongs to the whole cluster."""
    for thing in objects:
        if (thing["kind"] in CLUSTER_SCOPED) == ("namespace" in thing["metadata"]):
            yield f"{name_of(thing)}: namespace {thing['metadata'].get('namespace')}"


RULES: tuple[Rule, ...] = (
    images_are_pinned,
    resources_are_set,
    pods_are_restricted,
    containers_are_restricted,
    scratch_is_bounded,
    services_are_probed,
    tokens_are_not_mounted,
    pods_have_a_network_policy,
    secrets_have_no_values,
    references_exist,
    roles_are_narrow,
    namespaces_are_set,
)


def secret_references(objects: Sequence[Object]) -> set[tuple[str, str]]:
    """Return (namespace, name) of each Secret that an object refers to."""
    return {
        (namespace, wanted.removeprefix("Secret/"))
        for _, namespace, wanted in _references(objects)
        if wanted.startswith("Secret/")
    }


def _references(objects: Sequence[Object]) -> Iterator[tuple[str, str, str]]:
    """Yield (object, namespace, the name that it refers to)."""
    for each in pods(objects):
        for wanted in _named_by(each):
            yield each.name, each.namespace, wanted
    for thing in objects:
        where = thing["metadata"].get("namespace", "")
        if thing["kind"] == "RoleBinding":
            for subject in thing["subjects"]:
                yield name_of(thing), subject["namespace"], f"ServiceAccount/{subject['name']}"
            yield name_of(thing), where, f"{thing['roleRef']['kind']}/{thing['roleRef']['name']}"
        if thing["kind"] == "Role":
            for rule in thing["rules"]:
                for name in rule.get("resourceNames", []) if "secrets" in rule["resources"] else []:
                    if name not in _BY_KFP:
                        yield name_of(thing), where, f"Secret/{name}"
        if thing["kind"] == "ServiceMonitor":
            for endpoint in thing["spec"]["endpoints"]:
                for key in endpoint.get("basicAuth", {}).values():
                    yield name_of(thing), where, f"Secret/{key['name']}"


def _named_by(each: Pods) -> Iterator[str]:
    if "serviceAccountName" in each.spec:
        yield f"ServiceAccount/{each.spec['serviceAccountName']}"
    for volume in each.spec.get("volumes", []):
        if "configMap" in volume:
            yield f"ConfigMap/{volume['configMap']['name']}"
        if "secret" in volume:
            yield f"Secret/{volume['secret']['secretName']}"
        if "persistentVolumeClaim" in volume:
            yield f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}"
    for container in each.containers:
        for source in container.get("envFrom", []):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if key in source:
                    yield f"{kind}/{source[key]['name']}"
        for variable in container.get("env", []):
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if key in variable.get("valueFrom", {}):
                    yield f"{kind}/{variable['valueFrom'][key]['name']}"


def _containers(objects: Sequence[Object]) -> Iterator[tuple[Pods, Object]]:
    for each in pods(objects):
        for container in each.containers:
            yield each, container


def _denies_all(spec: Object) -> bool:
    both = set(spec["policyTypes"]) == {"Ingress", "Egress"}
    return both and not spec["podSelector"] and not spec.get("ingress") and not spec.get("egress")


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items()
    present = [it["key"] for it in selector.get("matchExpressions", [])]  # ours only use Exists
    return wanted <= labels.items() and all(key in labels for key in present)


def _strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _strings(inner, f"{path}[{number}]")
