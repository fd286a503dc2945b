"""Each overlay renders offline, is valid, follows the policies and uses the shared names."""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import json
import re
from pathlib import Path

import crd_schemas
import kubernetes_validate
import npm_schemas
import pytest
import yaml
from kubernetes_validate.utils import SchemaNotFoundError, latest_version
from manifests import K8S, OVERLAYS, find, name_of, needs_kubectl, pods, render
from policies import RULES, secret_references

from pipelines import conventions

REPOSITORY = K8S.parent
DEFINITIONS = REPOSITORY.parent / "shared" / "crds"
PAGES = ("cluster.md", "operations.md")
KUBERNETES = ("1.30", latest_version())  # the oldest of docs/cluster.md, and the newest
BUILT_IN = {"", "apps", "batch", "policy", "networking.k8s.io", "rbac.authorization.k8s.io"}
# Operators with local definitions: their version, and the beginning of the files' SHA-256.
DEFINED = {
    "Karpenter": ("1.14.1", "7afe780db1473547"),
    "KServe": ("0.20.0", "ee03116d972d4c80"),
    "Kueue": ("0.19.2", "bd43fed010291732"),
}

pytestmark = needs_kubectl


@pytest.fixture(params=OVERLAYS)
def objects(request):
    return render(request.param)


@pytest.fixture(scope="module")
def definitions():
    if not DEFINITIONS.is_dir():
        pytest.skip(f"{DEFINITIONS}: the definitions of {', '.join(DEFINED)} are missing")
    return crd_schemas.load(DEFINITIONS)


@pytest.fixture(scope="module")
def npm():
    if problem := npm_schemas.missing():
        pytest.skip(problem)
    npm_schemas.install()
    return npm_schemas


def is_built_in(thing):
    """Return True if a kind is Kubernetes' own."""
    return thing["apiVersion"].rpartition("/")[0] in BUILT_IN


def is_defined(thing, definitions):
    return (thing["apiVersion"], thing["kind"]) in definitions


def is_of_npm(thing):
    return thing["apiVersion"] in npm_schemas.PACKAGES


def count_schemas(thing, definitions):
    """Return the number of schemas that check an object; without one it would pass unchecked."""
    return sum((is_built_in(thing), is_defined(thing, definitions), is_of_npm(thing)))


def changed(thing, path, value):
    """Return a copy with another value at the end of a path of keys."""
    thing = copy.deepcopy(thing)
    inner = thing
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return thing


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_an_overlay_follows_the_policies(rule, objects):
    assert list(rule(objects)) == []


def test_no_object_is_defined_twice(objects):
    keys = [
        (thing["apiVersion"], thing["metadata"].get("namespace"), name_of(thing))
        for thing in objects
    ]
    assert len(keys) == len(set(keys))


def test_each_kind_has_a_schema(objects, definitions):
    kinds = {
        (thing["apiVersion"], thing["kind"]): count_schemas(thing, definitions) for thing in objects
    }
    assert set(kinds.values()) == {1}, kinds


def test_a_kind_without_a_schema_is_detected(definitions):
    flavor = find(render("eks"), "ResourceFlavor/ranzcr-cpu")
    assert count_schemas(flavor, definitions) == 1
    assert count_schemas(changed(flavor, ["apiVersion"], "kueue.x-k8s.io/v2"), definitions) == 0


@pytest.mark.parametrize("version", KUBERNETES)
def test_built_in_objects_are_valid(objects, version):
    checked = [thing for thing in objects if is_built_in(thing)]
    for thing in checked:
        kubernetes_validate.validate(thing, version, strict=True)
    assert len(checked) > 20


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["spec", "replica"], 2, "'replica' was unexpected"),
        (["spec", "replicas"], "2", "'2' is not of type 'integer'"),
        (["spec", "template", "spec"], {}, "'containers' is a required property"),
    ],
)
@pytest.mark.parametrize("version", KUBERNETES)
def test_a_wrong_object_is_refused(path, value, message, version):
    deployment = changed(find(render("kind"), "Deployment/mlflow"), path, value)
    with pytest.raises(kubernetes_validate.ValidationError, match=message):
        kubernetes_validate.validate(deployment, version, strict=True)


def test_a_kind_that_kubernetes_does_not_have_is_refused():
    deployment = changed(find(render("kind"), "Deployment/mlflow"), ["apiVersion"], "apps/v1beta1")
    with pytest.raises(SchemaNotFoundError):
        kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)


def test_custom_resources_match_their_definitions(objects, definitions):
    problems = {
        name_of(thing): definitions[thing["apiVersion"], thing["kind"]].problems(thing)
        for thing in objects
        if is_defined(thing, definitions)
    }
    assert {name: lines for name, lines in problems.items() if lines} == {}
    assert problems


REQUIREMENT = ["spec", "template", "spec", "requirements", 0]
FLAVOR = ["spec", "resourceGroups", 0, "flavors", 0]


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("ClusterQueue/ranzcr-gpu", ["spec", "cohort"], "all", "'cohort' was unexpected"),
        ("ClusterQueue/ranzcr-gpu", ["spec", "queueingStrategy"], "LIFO", "is not one of"),
        ("ClusterQueue/ranzcr-gpu", [*FLAVOR, "resources"], [], "should be non-empty"),
        ("InferenceService/ranzcr-clip", ["spec", "predictor", "minReplicas"], "2", "not of type"),
        ("NodePool/gpu-8x", ["spec", "template"], {}, "'spec' is a required property"),
        ("NodePool/gpu-8x", ["spec", "limits"], {"nvidia.com/gpu": []}, "$.spec.limits"),
        ("NodePool/gpu-8x", [*REQUIREMENT, "values"], [], "'In' must have a value defined"),
        ("NodePool/gpu-8x", [*REQUIREMENT, "key"], "karpenter.sh/mine", "is restricted"),
        ("NodePool/gpu-8x", ["spec", "replicas"], 1, "only 'limits.nodes' is supported"),
        (
            "ResourceFlavor/ranzcr-gpu-8x",
            ["spec", "tolerations"],
            [{"operator": "Exists", "value": "present"}],
            "a value must be empty when 'operator' is 'Exists'",
        ),
        (
            "ClusterQueue/ranzcr-gpu",
            ["spec", "resourceGroups", 0, "coveredResources"],
            ["cpu"],
            "flavors must have the same number of resources as the coveredResources",
        ),
        (
            "ClusterQueue/ranzcr-gpu",
            ["spec", "preemption"],
            {
                "borrowWithinCohort": {"policy": "LowerPriority"}
            },  # the default of reclaimWithinCohort is Never
            "reclaimWithinCohort=Never and borrowWithinCohort.Policy!=Never",
        ),
    ],
)
def test_a_wrong_custom_resource_is_refused(name, path, value, message, definitions):
    thing = changed(find(render("eks"), name), path, value)
    assert message in str(definitions[thing["apiVersion"], thing["kind"]].problems(thing))


def test_custom_resources_match_the_schemas_of_npm(objects, npm):
    custom = [thing for thing in objects if is_of_npm(thing)]
    problems = zip(map(name_of, custom), npm.problems(custom), strict=True)
    assert {name: lines for name, lines in problems if lines} == {}


def test_the_schemas_of_npm_refuse_a_wrong_custom_resource(npm):
    eks = render("eks")
    cases = [
        ("EC2NodeClass/ranzcr-gpu", ["spec", "amiFamilly"], "AL2023", "amiFamilly: unknown"),
        ("EC2NodeClass/ranzcr-gpu", ["spec", "metadataOptions", "httpTokens"], "no", "allowed"),
        ("EC2NodeClass/ranzcr-gpu", ["spec", "detailedMonitoring"], "yes", "must be boolean"),
        ("EC2NodeClass/ranzcr-gpu", ["spec"], {"role": "r"}, "required property amiSelectorTerms"),
        ("ServiceMonitor/mlflow", ["spec", "endpoints", 0, "interval"], "30", "match pattern"),
        ("ServiceMonitor/mlflow", ["spec", "endpoints", 0, "basicauth"], {}, "basicauth: unknown"),
        ("ServiceMonitor/mlflow", ["spec"], {"endpoints": []}, "required property selector"),
        ("PrometheusRule/ranzcr", ["spec", "groups", 0, "rules", 0, "for"], "2 min", "pattern"),
        ("PrometheusRule/ranzcr", ["spec", "groups", 0, "rules", 0, "sum"], "x", "sum: unknown"),
        ("SecretStore/ranzcr", ["spec", "provider", "aws", "service"], "Vault", "allowed values"),
        ("SecretStore/ranzcr", ["spec", "provider"], {"amazon": {}}, "provider/amazon: unknown"),
        ("ExternalSecret/ranzcr-s3", ["spec", "dataFrom", 0, "extract"], {}, "property key"),
        ("ExternalSecret/ranzcr-s3", ["spec", "target"], None, "/spec/target: unknown, or null"),
    ]
    things = [changed(find(eks, name), path, value) for name, path, value, _ in cases]
    for (name, path, _, message), lines in zip(cases, npm.problems(things), strict=True):
        assert message in str(lines), (name, path, lines)
        assert len(lines) < 5


def installed():
    """Return the version of each project in the table of k8s/third-party."""
    page = (K8S / "third-party/README.md").read_text()
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", page, re.MULTILINE))


@pytest.mark.parametrize("operator", DEFINED)
def test_the_definitions_have_the_installed_version(operator, definitions):
    version, digest = DEFINED[operator]
    files = sorted(DEFINITIONS.glob(f"{operator.lower()}_*.yaml"))
    actual = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert actual.startswith(digest), f"the definitions have changed: DEFINED names {version}"
    assert re.match(r"[\d.]+", installed()[operator])[0] == version


def test_the_other_schemas_have_the_installed_versions():
    versions = installed()
    for api in ("external-secrets.io/v1", "monitoring.coreos.com/v1"):
        assert api in npm_schemas.PACKAGES
        assert any(f"API `{api}`" in version for version in versions.values())
    trainer = importlib.metadata.version("kubeflow-trainer-api")
    assert versions["Kubeflow Trainer"].split()[0] == trainer.rpartition(".")[0]
    kueue = (K8S / "third-party/kueue/kustomization.yaml").read_text()
    assert f"/v{versions['Kueue']}/" in kueue
    page = (REPOSITORY / "docs/cluster.md").read_text()
    oldest = re.search(r"Kubernetes cluster ([\d.]+)\s", page)
    assert oldest[1] == KUBERNETES[0]


def test_the_namespace_enforces_the_restricted_standard(objects):
    labels = find(objects, "Namespace/ranzcr")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {pod.namespace for pod in pods(objects)} == {"ranzcr"}


def test_an_overlay_uses_the_names_of_the_client_and_the_profiles(objects):
    find(objects, f"PersistentVolumeClaim/{conventions.VOLUME_CLAIM}")
    data = find(objects, f"ConfigMap/{conventions.CONFIG_MAP}")["data"]
    assert set(conventions.CONFIG_KEYS) <= data.keys()
    for queue in conventions.QUEUES:
        local_queue = find(objects, f"LocalQueue/{queue}")
        find(objects, f"ClusterQueue/{local_queue['spec']['clusterQueue']}")
    secrets = {name for namespace, name in secret_references(objects)}
    external = {it["metadata"]["name"] for it in objects if it["kind"] == "ExternalSecret"}
    assert not external or external >= secrets | set(conventions.SECRETS)


@pytest.mark.parametrize("overlay", ["gke", "eks", "onprem"])
def test_the_service_account_of_the_pipelines_exists(overlay):
    account = find(render(overlay), f"ServiceAccount/{conventions.SERVICE_ACCOUNT}")
    assert account["metadata"]["namespace"] == conventions.NAMESPACE


def test_each_pool_of_a_profile_has_a_flavor_and_nodes_on_eks():
    pools = set()
    for profile in (REPOSITORY / "pipelines/profiles").glob("*.yaml"):
        hardware = yaml.safe_load(profile.read_text()).get("hardware", {}).values()
        pools |= {machine["pool"] for machine in hardware if "pool" in machine}
    eks = render("eks")
    label = conventions.POOL_LABEL
    flavors = [it.get("spec", {}) for it in eks if it["kind"] == "ResourceFlavor"]
    nodes = [it["spec"]["template"]["metadata"]["labels"] for it in eks if it["kind"] == "NodePool"]
    assert pools
    assert pools <= {flavor.get("nodeLabels", {}).get(label) for flavor in flavors}
    assert pools <= {labels.get(label) for labels in nodes}


def test_each_flavor_of_a_queue_exists(objects):
    for queue in (thing for thing in objects if thing["kind"] == "ClusterQueue"):
        for group in queue["spec"]["resourceGroups"]:
            for flavor in group["flavors"]:
                find(objects, f"ResourceFlavor/{flavor['name']}")
                priced = [resource["name"] for resource in flavor["resources"]]
                assert priced == group["coveredResources"]


def test_two_servers_stay_up_through_a_rollout_and_a_drain(objects):
    server = find(objects, "Deployment/mlflow")["spec"]
    assert server["replicas"] == 2
    assert server["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = find(objects, "PodDisruptionBudget/mlflow")["spec"]
    assert (budget["minAvailable"], budget["selector"]) == (1, server["selector"])


def test_mlflow_admits_each_of_its_addresses(objects):
    texts = [(K8S / "third-party/kfp/mlflow-plugin.json").read_text(), *map(json.dumps, objects)]
    hosts = {
        host for text in texts for host in re.findall(r"http://(mlflow[\w.-]*(?::\d+)?)", text)
    }
    (data,) = [it["data"] for it in objects if "ALLOWED_HOSTS" in it.get("data", {})]
    assert len(hosts) >= 2
    assert hosts <= set(data["ALLOWED_HOSTS"].split(","))


def test_the_page_creates_the_secrets_of_the_trial():
    page = (REPOSITORY / "docs/cluster.md").read_text()
    created = set(re.findall(r"kubectl -n (\w+) create secret generic ([\w-]+)", page))
    needed = secret_references(render("kind"))
    needed |= {("kubeflow", name) for name in conventions.SECRETS}
    assert created >= needed


def test_the_pages_name_objects_that_exist():
    text = "".join((REPOSITORY / "docs" / name).read_text() for name in PAGES)
    named = set(re.findall(r"\b(deployment|cronjob|job|svc)/([\w-]+)", text))
    existing = {("job", name) for name in re.findall(r"--from=cronjob/[\w-]+ ([\w-]+)", text)}
    for thing in (thing for overlay in OVERLAYS for thing in render(overlay)):
        kind = {"service": "svc"}.get(thing["kind"].lower(), thing["kind"].lower())
        existing.add((kind, thing["metadata"]["name"]))
    by_others = {("svc", "ml-pipeline-ui"), ("deployment", "ranzcr-clip-predictor")}
    assert named - existing == by_others


def test_every_file_below_k8s_is_used():
    used: set[Path] = set()
    for overlay in OVERLAYS:
        _follow(K8S / "overlays" / overlay, used)
    files = {path for path in K8S.rglob("*") if path.is_file()}
    exceptions = {path for path in files if "third-party" in path.parts or path.suffix == ".md"}
    assert files - exceptions == used


def _follow(folder: Path, used: set[Path]) -> None:
    """Add all files that a folder's kustomization uses, directly or not."""
    file = folder / "kustomization.yaml"
    used.add(file)
    kustomization = yaml.safe_load(file.read_text())
    for name in [*kustomization.get("resources", []), *kustomization.get("components", [])]:
        path = (folder / name).resolve()
        if path.is_dir():
            _follow(path, used)
        else:
            used.add(path)
    for generator in kustomization.get("configMapGenerator", []):
        used |= {
            (folder / name.rpartition("=")[2]).resolve() for name in generator.get("files", [])
        }
