"""Each overlay renders offline, is valid, keeps the policies and uses the names that others use."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import crd_schemas
import kubernetes_validate
import pytest
import yaml
from manifests import K8S, OVERLAYS, find, name_of, needs_kubectl, pods, render
from policies import RULES, secret_references

from pipelines import conventions

REPOSITORY = K8S.parent
DEFINITIONS = REPOSITORY.parent / "shared" / "crds"
PAGES = ("cluster.md", "operations.md")
KUBERNETES = "1.34"
BUILT_IN = {"", "apps", "batch", "policy", "networking.k8s.io", "rbac.authorization.k8s.io"}
# Kinds whose definitions are not at hand; nothing but the policies looks at them.
UNCHECKED = {
    *("ExternalSecret", "SecretStore", "ServiceMonitor", "PrometheusRule", "EC2NodeClass"),
}

pytestmark = needs_kubectl


@pytest.fixture(params=OVERLAYS)
def objects(request):
    return render(request.param)


@pytest.fixture(scope="module")
def definitions():
    if not DEFINITIONS.is_dir():
        pytest.skip(f"{DEFINITIONS}: the definitions of Kueue, Karpenter and KServe are not here")
    return crd_schemas.load(DEFINITIONS)


def is_custom(thing):
    """Whether a kind is not Kubernetes' own."""
    return thing["apiVersion"].rpartition("/")[0] not in BUILT_IN


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_it_keeps_the_policies(rule, objects):
    assert list(rule(objects)) == []


def test_nothing_is_made_twice(objects):
    made = [
        (thing["apiVersion"], thing["metadata"].get("namespace"), name_of(thing))
        for thing in objects
    ]
    assert len(made) == len(set(made))


def test_its_objects_are_valid(objects):
    checked = [thing for thing in objects if not is_custom(thing)]
    for thing in checked:
        kubernetes_validate.validate(thing, KUBERNETES, strict=True)
    assert len(checked) > 20


def test_an_unknown_field_is_refused():
    deployment = copy.deepcopy(find(render("kind"), "Deployment/mlflow"))
    deployment["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(deployment, KUBERNETES, strict=True)


def test_its_custom_resources_are_valid(objects, definitions):
    custom = [thing for thing in objects if is_custom(thing) and thing["kind"] not in UNCHECKED]
    told = {name_of(thing): crd_schemas.problems(thing, definitions) for thing in custom}
    assert {name: lines for name, lines in told.items() if lines} == {}
    assert custom


@pytest.mark.parametrize(
    ("name", "path", "value", "said"),
    [
        ("ClusterQueue/ranzcr-gpu", ["spec", "cohort"], "all", "'cohort' was unexpected"),
        ("ClusterQueue/ranzcr-gpu", ["spec", "queueingStrategy"], "LIFO", "is not one of"),
        ("InferenceService/ranzcr-clip", ["spec", "predictor", "minReplicas"], "2", "not of type"),
        ("NodePool/gpu-8x", ["spec", "template"], {}, "'spec' is a required property"),
        ("NodePool/gpu-8x", ["spec", "limits"], {"nvidia.com/gpu": []}, "$.spec.limits"),
    ],
)
def test_a_wrong_custom_resource_is_refused(name, path, value, said, definitions):
    thing = copy.deepcopy(find(render("eks"), name))
    inner = thing
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert said in str(crd_schemas.problems(thing, definitions))


def test_pods_of_the_namespace_are_held_to_the_restricted_standard(objects):
    labels = find(objects, "Namespace/ranzcr")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {each.namespace for each in pods(objects)} == {"ranzcr"}


def test_it_uses_the_names_that_the_client_and_the_profiles_use(objects):
    def there(kind, name):
        return find(objects, f"{kind}/{name}")

    there("PersistentVolumeClaim", conventions.VOLUME_CLAIM)
    assert set(conventions.CONFIG_KEYS) <= there("ConfigMap", conventions.CONFIG_MAP)["data"].keys()
    for queue in conventions.QUEUES:
        there("ClusterQueue", there("LocalQueue", queue)["spec"]["clusterQueue"])
    secrets = {name for namespace, name in secret_references(objects)}
    made = {it["metadata"]["name"] for it in objects if it["kind"] == "ExternalSecret"}
    assert not made or made >= secrets | set(conventions.SECRETS)


@pytest.mark.parametrize("overlay", ["gke", "eks", "onprem"])
def test_runs_have_the_account_that_pipelines_ask_for(overlay):
    account = find(render(overlay), f"ServiceAccount/{conventions.SERVICE_ACCOUNT}")
    assert account["metadata"]["namespace"] == conventions.NAMESPACE


def test_each_pool_of_a_profile_has_a_flavor_and_on_eks_nodes():
    asked = set()
    for profile in (REPOSITORY / "pipelines/profiles").glob("*.yaml"):
        hardware = yaml.safe_load(profile.read_text()).get("hardware", {}).values()
        asked |= {each["pool"] for each in hardware if "pool" in each}
    eks = render("eks")
    label = conventions.POOL_LABEL
    flavors = [it.get("spec", {}) for it in eks if it["kind"] == "ResourceFlavor"]
    nodes = [it["spec"]["template"]["metadata"]["labels"] for it in eks if it["kind"] == "NodePool"]
    assert asked
    assert asked <= {flavor.get("nodeLabels", {}).get(label) for flavor in flavors}
    assert asked <= {labels.get(label) for labels in nodes}


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


def test_each_address_of_mlflow_is_one_that_it_admits(objects):
    told = [(K8S / "third-party/kfp/mlflow-plugin.json").read_text(), *map(json.dumps, objects)]
    hosts = {host for text in told for host in re.findall(r"http://(mlflow[\w.-]*(?::\d+)?)", text)}
    (data,) = [it["data"] for it in objects if "ALLOWED_HOSTS" in it.get("data", {})]
    assert len(hosts) >= 2
    assert hosts <= set(data["ALLOWED_HOSTS"].split(","))


def test_secrets_of_the_trial_are_those_that_the_page_makes():
    page = (REPOSITORY / "docs/cluster.md").read_text()
    made = set(re.findall(r"kubectl -n (\w+) create secret generic ([\w-]+)", page))
    wanted = secret_references(render("kind"))
    wanted |= {("kubeflow", name) for name in conventions.SECRETS}
    assert made >= wanted


def test_the_pages_name_objects_that_exist():
    text = "".join((REPOSITORY / "docs" / name).read_text() for name in PAGES)
    named = set(re.findall(r"\b(deployment|cronjob|job|svc)/([\w-]+)", text))
    made = {("job", name) for name in re.findall(r"--from=cronjob/[\w-]+ ([\w-]+)", text)}
    for thing in (thing for overlay in OVERLAYS for thing in render(overlay)):
        kind = {"service": "svc"}.get(thing["kind"].lower(), thing["kind"].lower())
        made.add((kind, thing["metadata"]["name"]))
    by_others = {("svc", "ml-pipeline-ui"), ("deployment", "ranzcr-clip-predictor")}
    assert named - made == by_others


def test_every_file_below_k8s_is_used():
    """Whatever no overlay reads is out of date, or was forgotten."""
    used: set[Path] = set()
    for overlay in OVERLAYS:
        _follow(K8S / "overlays" / overlay, used)
    there = {path for path in K8S.rglob("*") if path.is_file()}
    apart = {path for path in there if "third-party" in path.parts or path.suffix == ".md"}
    assert there - apart == used


def _follow(folder: Path, used: set[Path]) -> None:
    kustomization = folder / "kustomization.yaml"
    used.add(kustomization)
    told = yaml.safe_load(kustomization.read_text())
    for name in [*told.get("resources", []), *told.get("components", [])]:
        path = (folder / name).resolve()
        if path.is_dir():
            _follow(path, used)
        else:
            used.add(path)
    for generator in told.get("configMapGenerator", []):
        used |= {
            (folder / name.rpartition("=")[2]).resolve() for name in generator.get("files", [])
        }
