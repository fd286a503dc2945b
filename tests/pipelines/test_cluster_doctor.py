"""`ranzcr doctor --cluster` reports problems before anything is submitted."""

from __future__ import annotations

import re

import pytest
from kube_server import KubeServer, create_objects, job, queue
from kubernetes import client as k8s

from pipelines import conventions, doctor
from ranzcr.checkup import Finding

POOL = conventions.POOL_LABEL


def node(name: str, pool: str, *taints: str, **labels: str) -> k8s.V1Node:
    """Return a node of a pool; taints are written as kubectl does: key=value:effect."""
    split = [re.fullmatch(r"([^=]*)=?(.*):(\w+)", taint).groups() for taint in taints]
    marks = [k8s.V1Taint(key=key, value=value, effect=effect) for key, value, effect in split]
    metadata = k8s.V1ObjectMeta(name=name, labels={POOL: pool, **labels})
    return k8s.V1Node(metadata=metadata, spec=k8s.V1NodeSpec(taints=marks))


@pytest.fixture
def kube(monkeypatch, tmp_path):
    """A cluster with everything that a run needs."""
    with KubeServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        create_objects(server)
        server.nodes = [node("a", "gpu-small"), node("b", "gpu-small")]
        yield server


def examine(
    profile: str | None = None, provider: str | None = None, image: str | None = None
) -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor.examine(profile, provider, image)}


def problems(findings) -> dict[str, str]:
    return {name: finding.text for name, finding in findings.items() if finding.outcome != "ok"}


def test_a_complete_cluster_has_no_problems(ranzcr, kfp_server, kube):
    code, out, err = ranzcr("doctor", "--cluster", "--profile", "gpu-small")
    assert code == 0, out + err
    findings = examine("gpu-small")
    assert problems(findings) == {}
    assert len(findings) == len(doctor.checks("gpu-small", None, None))
    assert f"{len(findings)} ok" in out
    assert findings["node pool gpu-small"].text == "2 nodes"
    assert findings["Kubeflow Pipelines"].text.endswith("version 2.17, for many users")
    assert "hidden" not in out


@pytest.mark.parametrize(
    ("plural", "name", "check", "fix"),
    [
        (
            "secrets",
            "ranzcr-s3",
            "Secret ranzcr-s3",
            "FILE, which holds AWS_ACCESS_KEY_ID=... and AWS_SECRET",
        ),
        ("configmaps", "ranzcr-env", "ConfigMap ranzcr-env", "docs/cluster.md"),
        ("serviceaccounts", "pipeline-runner", "service account pipeline-runner", "k8s/"),
        ("persistentvolumeclaims", "ranzcr-work", "volume claim ranzcr-work", "k8s/"),
        ("jobs", "ranzcr-work-ready", "Job ranzcr-work-ready", "k8s/"),
    ],
)
def test_a_missing_object_is_named_with_its_fix(kfp_server, kube, plural, name, check, fix):
    kube.objects[plural] = [item for item in kube.objects[plural] if item.metadata.name != name]
    findings = examine()
    assert [key for key in problems(findings) if findings[key].outcome != "skip"] == [check]
    assert re.match(f"there is no .* {name} in namespace ranzcr", findings[check].text)
    assert fix in findings[check].fix


def test_a_failure_is_exit_code_2_and_shows_its_fix(ranzcr, kfp_server, kube):
    kube.objects["secrets"] = []
    code, out, _ = ranzcr("doctor", "--cluster")
    assert code == 2
    assert "fail  Secret ranzcr-s3: kubectl -n ranzcr create secret generic ranzcr-s3" in out
    assert "warn  Secret ranzcr-kaggle: kubectl -n ranzcr create secret" in out


def test_secrets_with_missing_or_empty_keys_are_reported(kfp_server, kube):
    mlflow, s3, kaggle = kube.objects["secrets"]
    mlflow.data.pop("MLFLOW_TRACKING_PASSWORD")
    s3.data["AWS_SECRET_ACCESS_KEY"] = ""
    kaggle.data = None
    assert problems(examine()) == {
        "Secret ranzcr-mlflow": "has no key MLFLOW_TRACKING_PASSWORD; "
        "it has MLFLOW_TRACKING_USERNAME",
        "Secret ranzcr-s3": "key AWS_SECRET_ACCESS_KEY is empty",
        "Secret ranzcr-kaggle": "has no key KAGGLE_USERNAME; it has none",
    }


def test_an_object_that_we_may_not_read_is_a_warning(ranzcr, kfp_server, kube):
    kube.fail("GET .*/secrets/.*", 403, times=9)
    code, out, _ = ranzcr("doctor", "--cluster")
    assert code == 0
    assert out.count("Kubernetes forbids secret ranzcr-") == 3


def test_a_missing_namespace_fails_once(kfp_server, kube):
    kube.namespaces = ["default"]
    findings = examine("gpu-small")
    failed = [name for name, finding in findings.items() if finding.outcome == "fail"]
    assert failed == ["namespace"]
    assert findings["Secret ranzcr-s3"].text == "needs: namespace"
    assert findings["node pool gpu-small"].outcome == "ok"


@pytest.mark.parametrize(
    ("phase", "modes", "outcome", "text"),
    [
        ("Pending", ["ReadWriteMany"], "warn", "is Pending: fine if its class waits"),
        ("Lost", ["ReadWriteMany"], "fail", "lost its volume"),
        ("Bound", ["ReadOnlyMany"], "fail", "is ReadOnlyMany; the pods of a run write to it"),
        ("Bound", ["ReadWriteOnce"], "warn", "is ReadWriteOnce: all pods that use it wait for one"),
    ],
)
def test_a_volume_that_runs_cannot_use_is_reported(kfp_server, kube, phase, modes, outcome, text):
    (claim,) = kube.objects["persistentvolumeclaims"]
    claim.status.phase, claim.spec.access_modes = phase, modes
    finding = examine()["volume claim ranzcr-work"]
    assert finding.outcome == outcome
    assert finding.text.startswith(text)


def test_a_read_write_once_volume_is_fine_in_a_cluster_of_one_node(kfp_server, kube):
    kube.objects["persistentvolumeclaims"][0].spec.access_modes = ["ReadWriteOnce"]
    assert examine()["volume claim ranzcr-work"].text.endswith("; there are 2")
    kube.nodes, kube.objects["jobs"] = kube.nodes[:1], []
    assert problems(examine()) == {}
    kube.fail("GET .*/nodes", 403, times=9)
    finding = examine()["volume claim ranzcr-work"]
    assert (finding.outcome, finding.text.split("; ")[1]) == (
        "warn",
        "we may not see how many there are",
    )


@pytest.mark.parametrize(
    ("conditions", "outcome", "text"),
    [
        ({"Failed": "True"}, "fail", "failed: a run's pods cannot write to the volume"),
        ({}, "warn", "has not ended yet: it will show whether pods can write"),
        ({"Complete": "False"}, "warn", "has not ended yet: it will show whether pods can write"),
        ({"Complete": "True"}, "ok", "wrote to the volume, as a run's pods will"),
    ],
)
def test_the_job_shows_whether_pods_can_write_to_the_volume(
    kfp_server, kube, conditions, outcome, text
):
    kube.objects["jobs"] = [job("ranzcr-work-ready", **conditions)]
    finding = examine()["Job ranzcr-work-ready"]
    assert (finding.outcome, finding.text) == (outcome, text)
    assert ("kubectl -n ranzcr logs job/ranzcr-work-ready" in finding.fix) == (outcome != "ok")


def test_a_missing_job_is_a_warning_and_is_skipped_without_a_claim(kfp_server, kube):
    kube.objects["jobs"] = []
    finding = examine()["Job ranzcr-work-ready"]
    assert finding.outcome == "warn"
    assert finding.text.endswith("nothing has tried to write to the volume")
    kube.objects["persistentvolumeclaims"] = []
    assert examine()["Job ranzcr-work-ready"].text == "needs: volume claim ranzcr-work"


def test_a_missing_node_pool_names_the_nearest(kfp_server, kube):
    finding = examine("gpu-8x")["node pool gpu-8x"]
    assert (finding.outcome, finding.text) == (
        "fail",
        "no node, and no Karpenter NodePool, has it; did you mean gpu-small?",
    )
    assert "label its nodes ranzcr/pool=gpu-8x" in finding.fix


def test_an_empty_pool_is_a_warning_if_the_provider_adds_nodes(kfp_server, kube):
    finding = examine("gpu-8x", "aks")["node pool gpu-8x"]
    assert (finding.outcome, finding.text) == (
        "warn",
        "no node has it now; did you mean gpu-small?; fine if aks adds the first one",
    )


def test_a_cluster_without_pool_labels_is_reported(kfp_server, kube):
    kube.nodes = [k8s.V1Node(metadata=k8s.V1ObjectMeta(name="a"))]
    text = examine("gpu-small")["node pool gpu-small"].text
    assert text.endswith("no node has the label ranzcr/pool")


def test_nodes_that_karpenter_would_add_count(kfp_server, kube):
    kube.nodes = []
    labels = {"metadata": {"labels": {POOL: "gpu-small"}}}
    kube.custom["karpenter.sh/nodepools"] = [{"spec": {"template": labels}}]
    finding = examine("gpu-small")["node pool gpu-small"]
    assert (finding.outcome, finding.text) == ("ok", "no node now; Karpenter adds them")


def test_a_missing_or_inactive_queue_is_a_failure(kfp_server, kube):
    kube.custom["kueue.x-k8s.io/localqueues"] = [
        queue("cpu"),
        queue("gpu", conditions=[{"type": "Active", "status": "False", "message": "no quota"}]),
    ]
    assert problems(examine()) == {"queue gpu": "accepts no work: no quota"}
    kube.custom["kueue.x-k8s.io/localqueues"].pop()
    assert problems(examine()) == {"queue gpu": "there is no localqueue gpu in namespace ranzcr"}
    del kube.custom["kueue.x-k8s.io/localqueues"]
    text = "the cluster does not know kueue.x-k8s.io"
    assert problems(examine()) == {"queue cpu": text, "queue gpu": text}


GKE_L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
GPU_TAINT = "nvidia.com/gpu=present:NoSchedule"


def gke(*taints: str, **labels: str) -> k8s.V1Node:
    return node("a", "gpu-small", *taints, **{**GKE_L4, **labels})


def test_nodes_with_the_labels_and_taints_of_the_provider_are_accepted(kfp_server, kube):
    by_kubernetes = "node.kubernetes.io/unschedulable:NoSchedule"
    kube.nodes = [gke(GPU_TAINT, by_kubernetes, "other=x:PreferNoSchedule"), node("b", "gpu-small")]
    findings = examine("gpu-small", "gke")
    assert problems(findings) == {}
    assert findings["nodes of gpu-small"].text == "1 of 2 accept its pods"


@pytest.mark.parametrize(
    ("provider", "gpu_node", "text"),
    [
        (
            "gke",
            node("a", "gpu-small", GPU_TAINT),
            "node a has no label cloud.google.com/gke-accelerator; "
            "gke asks for cloud.google.com/gke-accelerator=nvidia-l4",
        ),
        (
            "gke",
            gke(GPU_TAINT, **{"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}),
            "node a has cloud.google.com/gke-accelerator=nvidia-tesla-t4; "
            "gke asks for cloud.google.com/gke-accelerator=nvidia-l4",
        ),
        (
            "gke",
            gke("sku=gpu:NoSchedule"),
            "node a has the taint sku=gpu:NoSchedule, which gke does not tolerate",
        ),
        (
            "generic",
            node("a", "gpu-small", "nvidia.com/gpu=true:NoExecute"),
            "node a has the taint nvidia.com/gpu=true:NoExecute, which generic does not tolerate",
        ),
        (
            "generic",
            node("a", "gpu-small", "nvidia.com/gpu:NoSchedule"),
            "node a has the taint nvidia.com/gpu=:NoSchedule, which generic does not tolerate",
        ),
    ],
)
def test_a_node_that_accepts_no_pod_of_the_profile_is_reported(
    kfp_server, kube, provider, gpu_node, text
):
    kube.nodes = [gpu_node]
    finding = examine("gpu-small", provider)["nodes of gpu-small"]
    assert (finding.outcome, finding.text) == ("fail", text)


def test_a_gpu_that_the_provider_does_not_know_is_a_failure(kfp_server, kube, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: gpu-small\nhardware: {training: {gpu: {type: l40}}}\n")
    finding = examine(str(mine), "gke")["nodes of gpu-small"]
    assert (finding.outcome, finding.text) == (
        "fail",
        "provider gke has no GPU type 'l40'; did you mean l4?",
    )


def test_nodes_that_do_not_exist_yet_or_are_forbidden_are_not_a_failure(kfp_server, kube):
    kube.nodes = []
    labels = {"metadata": {"labels": {POOL: "gpu-small"}}}
    kube.custom["karpenter.sh/nodepools"] = [{"spec": {"template": labels}}]
    assert examine("gpu-small", "gke")["nodes of gpu-small"].outcome == "ok"
    kube.fail("GET .*/nodes", 403, times=9)
    assert examine("gpu-small", "gke")["nodes of gpu-small"].outcome == "warn"


def test_an_unknown_provider_or_one_without_a_profile_is_one_line(ranzcr, kfp_server, kube):
    arguments = ["doctor", "--cluster", "--provider", "gcp"]
    code, _, err = ranzcr(*arguments, "--profile", "gpu-small")
    assert (code, err.count("\n")) == (2, 1)
    assert "no provider 'gcp'; known: aks, eks, generic, gke, onprem" in err
    assert "--provider goes with --profile" in ranzcr(*arguments)[2]
    assert kube.requests == []


TRAINER = "trainer.kubeflow.org"


def runtime(name: str) -> dict:
    return {"metadata": {"name": name}}


def test_a_training_on_several_nodes_needs_the_trainer_and_serving_needs_kserve(kfp_server, kube):
    kube.nodes = [node("a", "gpu-8x")]
    del kube.custom["serving.kserve.io/inferenceservices"]
    findings = examine("multi-node")
    outcomes = {name: finding.outcome for name, finding in findings.items()}
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "ok"} == {
        "Kubeflow Trainer": "fail",
        "KServe": "warn",
    }
    assert findings["Kubeflow Trainer"].text == f"the cluster does not know {TRAINER}"


def test_the_kind_and_the_runtime_of_a_training_on_several_nodes_are_checked(kfp_server, kube):
    kube.nodes = [node("a", "gpu-8x")]
    kube.custom[f"{TRAINER}/clustertrainingruntimes"] = []

    def trainer() -> tuple[str, str]:
        finding = examine("multi-node")["Kubeflow Trainer"]
        return finding.outcome, finding.text

    assert trainer() == ("fail", f"{TRAINER}/v1alpha1 has no trainjobs")
    kube.custom[f"{TRAINER}/trainjobs"] = []
    missing = "there is no ClusterTrainingRuntime torch-distributed"
    assert trainer() == ("fail", f"{missing}; there is none")
    kube.custom[f"{TRAINER}/clustertrainingruntimes"] = [runtime("torch-distribute")]
    assert trainer() == ("fail", f"{missing}; did you mean torch-distribute?")
    kube.custom[f"{TRAINER}/clustertrainingruntimes"].append(runtime("torch-distributed"))
    assert trainer() == ("ok", f"{TRAINER}/v1alpha1, with the runtime torch-distributed")
    kube.fail("GET .*/clustertrainingruntimes", 403)
    assert trainer()[0] == "warn"


def test_a_profile_on_cpu_needs_no_volume_and_no_pool(kfp_server, kube):
    kube.objects["persistentvolumeclaims"] = []
    kube.nodes = []
    assert problems(examine("cpu")) == {}


@pytest.mark.parametrize("option", ["gpu-smal", "gpu_small"])
def test_an_unknown_profile_is_one_line_that_names_the_nearest(ranzcr, kfp_server, kube, option):
    code, _, err = ranzcr("doctor", "--cluster", "--profile", option)
    assert (code, err.count("\n")) == (2, 1)
    assert "did you mean gpu-small?" in err
    assert kube.requests == []


def test_a_missing_or_old_kfp_does_not_stop_the_other_checks(kfp_server, kube, monkeypatch):
    kfp_server.tag = "2.3.0"
    findings = examine()
    assert "is version 2.3.0; supported is 2.15" in findings["Kubeflow Pipelines"].text
    assert findings["runs"].text == "needs: Kubeflow Pipelines"
    monkeypatch.delenv("RANZCR_KFP_HOST")
    assert "RANZCR_KFP_HOST is not set" in examine()["Kubeflow Pipelines"].text
    assert examine()["Secret ranzcr-s3"].outcome == "ok"


def test_a_kfp_without_a_version_is_a_warning(kfp_server, kube):
    kfp_server.tag = "unknown"
    assert examine()["Kubeflow Pipelines"].outcome == "warn"


def test_a_role_that_may_not_list_runs_is_a_failure(kfp_server, kube):
    kfp_server.fail("GET .*/runs", 403)
    finding = examine()["runs"]
    assert "forbids it (403, the list of runs)" in finding.text
    assert "set RANZCR_KFP_NAMESPACE to yours" in finding.fix


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (401, "Kubernetes does not know you (401, its version); log in again"),
        (500, "Kubernetes answers 500 (its version): made to fail with 500"),
        ("lost", "Kubernetes does not answer (its version): no connection"),
    ],
)
def test_a_kubernetes_that_refuses_fails_once(kfp_server, kube, how, text):
    kube.fail("GET /version/?", how, times=9)
    findings = examine()
    assert (findings["Kubernetes"].outcome, findings["Kubernetes"].text) == ("fail", text)
    assert findings["namespace"].text == "needs: Kubernetes"


def test_a_missing_kubeconfig_is_reported(kfp_server, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "away"))
    findings = examine()
    assert "set KUBECONFIG to a file with a context" in findings["Kubernetes"].text
    assert capfd.readouterr().out == ""


def test_an_image_is_checked_in_its_registry(kfp_server, kube):
    host = kfp_server.url.removeprefix("http://")
    missing = f"{host}/ranzcr@sha256:{'0' * 64}"
    assert examine(image=missing)["image"].text == f"{missing} is not in its registry"
    assert "is not pinned" in examine(image=f"{host}/ranzcr:latest")["image"].text
    away = examine(image=f"127.0.0.1:9/ranzcr@sha256:{'0' * 64}")["image"]
    assert away.outcome == "warn"
    assert away.text.endswith("and pods have no pull secret")


def test_a_cluster_and_an_mlflow_are_checked_one_at_a_time(ranzcr):
    assert "either --cluster or --mlflow" in ranzcr("doctor", "--cluster", "--mlflow", "x")[2]
    assert "go with --cluster" in ranzcr("doctor", "--profile", "cpu")[2]
