"""What `ranzcr doctor --cluster` finds before anything is submitted."""

from __future__ import annotations

import re

import pytest
from kube_server import KubeServer, furnish, job, queue
from kubernetes import client as k8s

from pipelines import conventions, doctor
from ranzcr.checkup import Finding

POOL = conventions.POOL_LABEL


def node(name: str, pool: str, *taints: str, **labels: str) -> k8s.V1Node:
    """Taints as kubectl writes them: key=value:effect."""
    split = [re.fullmatch(r"([^=]*)=?(.*):(\w+)", taint).groups() for taint in taints]
    marks = [k8s.V1Taint(key=key, value=value, effect=effect) for key, value, effect in split]
    metadata = k8s.V1ObjectMeta(name=name, labels={POOL: pool, **labels})
    return k8s.V1Node(metadata=metadata, spec=k8s.V1NodeSpec(taints=marks))


@pytest.fixture
def kube(monkeypatch, tmp_path):
    """A cluster with all that a run asks for."""
    with KubeServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        furnish(server)
        server.nodes = [node("a", "gpu-small"), node("b", "gpu-small")]
        yield server


def found(
    profile: str | None = None, provider: str | None = None, image: str | None = None
) -> dict[str, Finding]:
    return {one.name: one for one in doctor.examine(profile, provider, image)}


def wrong(findings) -> dict[str, str]:
    return {name: one.text for name, one in findings.items() if one.outcome != "ok"}


def test_all_is_well(ranzcr, kfp_server, kube):
    code, out, err = ranzcr("doctor", "--cluster", "--profile", "gpu-small")
    assert code == 0, out + err
    findings = found("gpu-small")
    assert wrong(findings) == {}
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
def test_what_is_missing_is_named_with_what_to_do(kfp_server, kube, plural, name, check, fix):
    kube.objects[plural] = [one for one in kube.objects[plural] if one.metadata.name != name]
    findings = found()
    assert [one for one in wrong(findings) if findings[one].outcome != "skip"] == [check]
    assert re.match(f"there is no .* {name} in namespace ranzcr", findings[check].text)
    assert fix in findings[check].fix


def test_a_failure_is_exit_code_2_and_says_what_to_do(ranzcr, kfp_server, kube):
    kube.objects["secrets"] = []
    code, out, _ = ranzcr("doctor", "--cluster")
    assert code == 2
    assert "fail  Secret ranzcr-s3: kubectl -n ranzcr create secret generic ranzcr-s3" in out
    assert "warn  Secret ranzcr-kaggle: kubectl -n ranzcr create secret" in out


def test_a_secret_without_a_key_or_with_an_empty_one_is_found(kfp_server, kube):
    mlflow, s3, kaggle = kube.objects["secrets"]
    mlflow.data.pop("MLFLOW_TRACKING_PASSWORD")
    s3.data["AWS_SECRET_ACCESS_KEY"] = ""
    kaggle.data = None
    assert wrong(found()) == {
        "Secret ranzcr-mlflow": "has no key MLFLOW_TRACKING_PASSWORD; "
        "it has MLFLOW_TRACKING_USERNAME",
        "Secret ranzcr-s3": "key AWS_SECRET_ACCESS_KEY is empty",
        "Secret ranzcr-kaggle": "has no key KAGGLE_USERNAME; it has none",
    }


def test_what_may_not_be_looked_at_is_a_warning(ranzcr, kfp_server, kube):
    kube.fail("GET .*/secrets/.*", 403, times=9)
    code, out, _ = ranzcr("doctor", "--cluster")
    assert code == 0
    assert out.count("Kubernetes forbids secret ranzcr-") == 3


def test_a_missing_namespace_is_told_once(kfp_server, kube):
    kube.namespaces = ["default"]
    findings = found("gpu-small")
    failed = [name for name, one in findings.items() if one.outcome == "fail"]
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
def test_a_volume_that_runs_could_not_use_is_found(kfp_server, kube, phase, modes, outcome, text):
    (claim,) = kube.objects["persistentvolumeclaims"]
    claim.status.phase, claim.spec.access_modes = phase, modes
    finding = found()["volume claim ranzcr-work"]
    assert finding.outcome == outcome
    assert finding.text.startswith(text)


def test_a_volume_of_one_node_is_right_where_there_is_one(kfp_server, kube):
    kube.objects["persistentvolumeclaims"][0].spec.access_modes = ["ReadWriteOnce"]
    assert found()["volume claim ranzcr-work"].text.endswith("; there are 2")
    kube.nodes, kube.objects["jobs"] = kube.nodes[:1], []
    assert wrong(found()) == {}
    kube.fail("GET .*/nodes", 403, times=9)
    finding = found()["volume claim ranzcr-work"]
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
def test_whether_pods_can_write_to_the_volume_is_told(kfp_server, kube, conditions, outcome, text):
    kube.objects["jobs"] = [job("ranzcr-work-ready", **conditions)]
    finding = found()["Job ranzcr-work-ready"]
    assert (finding.outcome, finding.text) == (outcome, text)
    assert ("kubectl -n ranzcr logs job/ranzcr-work-ready" in finding.fix) == (outcome != "ok")


def test_a_job_that_is_not_there_is_a_warning_and_of_no_claim_no_question(kfp_server, kube):
    kube.objects["jobs"] = []
    finding = found()["Job ranzcr-work-ready"]
    assert finding.outcome == "warn"
    assert finding.text.endswith("nothing has tried to write to the volume")
    kube.objects["persistentvolumeclaims"] = []
    assert found()["Job ranzcr-work-ready"].text == "needs: volume claim ranzcr-work"


def test_a_missing_node_pool_names_the_nearest(kfp_server, kube):
    finding = found("gpu-8x")["node pool gpu-8x"]
    assert (finding.outcome, finding.text) == (
        "fail",
        "no node, and no Karpenter NodePool, has it; did you mean gpu-small?",
    )
    assert "label its nodes ranzcr/pool=gpu-8x" in finding.fix


def test_a_pool_without_nodes_is_right_where_the_provider_makes_the_first(kfp_server, kube):
    finding = found("gpu-8x", "aks")["node pool gpu-8x"]
    assert (finding.outcome, finding.text) == (
        "warn",
        "no node has it now; did you mean gpu-small?; fine if aks adds the first one",
    )


def test_a_cluster_without_labels_says_so(kfp_server, kube):
    kube.nodes = [k8s.V1Node(metadata=k8s.V1ObjectMeta(name="a"))]
    text = found("gpu-small")["node pool gpu-small"].text
    assert text.endswith("no node has the label ranzcr/pool")


def test_nodes_that_karpenter_would_make_count(kfp_server, kube):
    kube.nodes = []
    labels = {"metadata": {"labels": {POOL: "gpu-small"}}}
    kube.custom["karpenter.sh/nodepools"] = [{"spec": {"template": labels}}]
    finding = found("gpu-small")["node pool gpu-small"]
    assert (finding.outcome, finding.text) == ("ok", "no node now; Karpenter adds them")


def test_without_kueue_or_its_queues_tasks_would_wait_for_ever(kfp_server, kube):
    kube.custom["kueue.x-k8s.io/localqueues"] = [
        queue("cpu"),
        queue("gpu", conditions=[{"type": "Active", "status": "False", "message": "no quota"}]),
    ]
    assert wrong(found()) == {"queue gpu": "accepts no work: no quota"}
    kube.custom["kueue.x-k8s.io/localqueues"].pop()
    assert wrong(found()) == {"queue gpu": "there is no localqueue gpu in namespace ranzcr"}
    del kube.custom["kueue.x-k8s.io/localqueues"]
    text = "the cluster does not know kueue.x-k8s.io"
    assert wrong(found()) == {"queue cpu": text, "queue gpu": text}


GKE_L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
GPU_TAINT = "nvidia.com/gpu=present:NoSchedule"


def gke(*taints: str, **labels: str) -> k8s.V1Node:
    return node("a", "gpu-small", *taints, **{**GKE_L4, **labels})


def test_nodes_as_the_provider_has_them_are_right(kfp_server, kube):
    own = "node.kubernetes.io/unschedulable:NoSchedule"
    kube.nodes = [gke(GPU_TAINT, own, "other=x:PreferNoSchedule"), node("b", "gpu-small")]
    findings = found("gpu-small", "gke")
    assert wrong(findings) == {}
    assert findings["nodes of gpu-small"].text == "1 of 2 accept its pods"


@pytest.mark.parametrize(
    ("provider", "one", "text"),
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
def test_nodes_that_take_no_pod_of_the_profile_are_named(kfp_server, kube, provider, one, text):
    kube.nodes = [one]
    finding = found("gpu-small", provider)["nodes of gpu-small"]
    assert (finding.outcome, finding.text) == ("fail", text)


def test_a_gpu_that_the_provider_does_not_know_is_a_failure(kfp_server, kube, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: gpu-small\nhardware: {training: {gpu: {type: l40}}}\n")
    finding = found(str(mine), "gke")["nodes of gpu-small"]
    assert (finding.outcome, finding.text) == (
        "fail",
        "provider gke has no GPU type 'l40'; did you mean l4?",
    )


def test_nodes_that_are_not_made_yet_or_may_not_be_seen_are_no_failure(kfp_server, kube):
    kube.nodes = []
    labels = {"metadata": {"labels": {POOL: "gpu-small"}}}
    kube.custom["karpenter.sh/nodepools"] = [{"spec": {"template": labels}}]
    assert found("gpu-small", "gke")["nodes of gpu-small"].outcome == "ok"
    kube.fail("GET .*/nodes", 403, times=9)
    assert found("gpu-small", "gke")["nodes of gpu-small"].outcome == "warn"


def test_a_provider_that_is_unknown_or_has_no_profile_is_one_line(ranzcr, kfp_server, kube):
    asked = ["doctor", "--cluster", "--provider", "gcp"]
    code, _, err = ranzcr(*asked, "--profile", "gpu-small")
    assert (code, err.count("\n")) == (2, 1)
    assert "no provider 'gcp'; known: aks, eks, generic, gke, onprem" in err
    assert "--provider goes with --profile" in ranzcr(*asked)[2]
    assert kube.asked == []


TRAINER = "trainer.kubeflow.org"


def runtime(name: str) -> dict:
    return {"metadata": {"name": name}}


def test_a_training_over_nodes_wants_the_trainer_and_serving_wants_kserve(kfp_server, kube):
    kube.nodes = [node("a", "gpu-8x")]
    del kube.custom["serving.kserve.io/inferenceservices"]
    findings = found("multi-node")
    assert {name: one.outcome for name, one in findings.items() if one.outcome != "ok"} == {
        "Kubeflow Trainer": "fail",
        "KServe": "warn",
    }
    assert findings["Kubeflow Trainer"].text == f"the cluster does not know {TRAINER}"


def test_the_kind_and_the_runtime_that_a_training_names_are_looked_for(kfp_server, kube):
    kube.nodes = [node("a", "gpu-8x")]
    kube.custom[f"{TRAINER}/clustertrainingruntimes"] = []

    def told() -> tuple[str, str]:
        finding = found("multi-node")["Kubeflow Trainer"]
        return finding.outcome, finding.text

    assert told() == ("fail", f"{TRAINER}/v1alpha1 has no trainjobs")
    kube.custom[f"{TRAINER}/trainjobs"] = []
    missing = "there is no ClusterTrainingRuntime torch-distributed"
    assert told() == ("fail", f"{missing}; there is none")
    kube.custom[f"{TRAINER}/clustertrainingruntimes"] = [runtime("torch-distribute")]
    assert told() == ("fail", f"{missing}; did you mean torch-distribute?")
    kube.custom[f"{TRAINER}/clustertrainingruntimes"].append(runtime("torch-distributed"))
    assert told() == ("ok", f"{TRAINER}/v1alpha1, with the runtime torch-distributed")
    kube.fail("GET .*/clustertrainingruntimes", 403)
    assert told()[0] == "warn"


def test_a_profile_on_cpu_asks_for_no_volume_and_no_pool(kfp_server, kube):
    kube.objects["persistentvolumeclaims"] = []
    kube.nodes = []
    assert wrong(found("cpu")) == {}


@pytest.mark.parametrize("option", ["gpu-smal", "gpu_small"])
def test_an_unknown_profile_is_one_line_that_names_the_nearest(ranzcr, kfp_server, kube, option):
    code, _, err = ranzcr("doctor", "--cluster", "--profile", option)
    assert (code, err.count("\n")) == (2, 1)
    assert "did you mean gpu-small?" in err
    assert kube.asked == []


def test_a_kfp_that_is_away_or_too_old_leaves_the_rest_to_be_looked_at(
    kfp_server, kube, monkeypatch
):
    kfp_server.tag = "2.3.0"
    findings = found()
    assert "is version 2.3.0; supported is 2.15" in findings["Kubeflow Pipelines"].text
    assert findings["runs"].text == "needs: Kubeflow Pipelines"
    monkeypatch.delenv("RANZCR_KFP_HOST")
    assert "RANZCR_KFP_HOST is not set" in found()["Kubeflow Pipelines"].text
    assert found()["Secret ranzcr-s3"].outcome == "ok"


def test_a_kfp_that_does_not_say_its_version_is_a_warning(kfp_server, kube):
    kfp_server.tag = "unknown"
    assert found()["Kubeflow Pipelines"].outcome == "warn"


def test_a_role_that_may_not_list_runs_is_found(kfp_server, kube):
    kfp_server.fail("GET .*/runs", 403)
    finding = found()["runs"]
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
def test_a_kubernetes_that_refuses_is_told_once(kfp_server, kube, how, text):
    kube.fail("GET /version/?", how, times=9)
    findings = found()
    assert (findings["Kubernetes"].outcome, findings["Kubernetes"].text) == ("fail", text)
    assert findings["namespace"].text == "needs: Kubernetes"


def test_without_a_kubeconfig_it_says_what_to_set(kfp_server, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "away"))
    findings = found()
    assert "set KUBECONFIG to a file with a context" in findings["Kubernetes"].text
    assert capfd.readouterr().out == ""


def test_an_image_is_looked_for_in_its_registry(kfp_server, kube):
    host = kfp_server.url.removeprefix("http://")
    missing = f"{host}/ranzcr@sha256:{'0' * 64}"
    assert found(image=missing)["image"].text == f"{missing} is not in its registry"
    assert "is not pinned" in found(image=f"{host}/ranzcr:latest")["image"].text
    away = found(image=f"127.0.0.1:9/ranzcr@sha256:{'0' * 64}")["image"]
    assert away.outcome == "warn"
    assert away.text.endswith("and pods have no pull secret")


def test_a_cluster_and_an_mlflow_are_looked_at_one_at_a_time(ranzcr):
    assert "either --cluster or --mlflow" in ranzcr("doctor", "--cluster", "--mlflow", "x")[2]
    assert "go with --cluster" in ranzcr("doctor", "--profile", "cpu")[2]
