"""The account for submitting from outside has the rights that its commands need."""

from __future__ import annotations

import pytest
import rbac
from kube_server import DONE, KubeServer, add_pod, create_objects
from manifests import find, needs_kubectl, render

from pipelines import doctor

pytestmark = needs_kubectl

# Secrets and objects outside our namespace are forbidden; the doctor then warns.
FORBIDDEN = {
    "Secret ranzcr-mlflow": "Kubernetes forbids secret ranzcr-mlflow",
    "Secret ranzcr-s3": "Kubernetes forbids secret ranzcr-s3",
    "Secret ranzcr-kaggle": "Kubernetes forbids secret ranzcr-kaggle",
    "node pool gpu-8x": "Kubernetes forbids nodes",
    "nodes of gpu-8x": "Kubernetes forbids nodes",
    "Kubeflow Trainer": "Kubernetes forbids clustertrainingruntimes",
}


@pytest.fixture
def submitter(monkeypatch, tmp_path):
    """A complete cluster that allows only the rules of the account's Role."""
    objects = render("onprem")
    binding = find(objects, "RoleBinding/pipeline-submitter")
    assert [subject["name"] for subject in binding["subjects"]] == ["pipeline-submitter"]
    with KubeServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        create_objects(server)
        server.rules = find(objects, f"Role/{binding['roleRef']['name']}")["rules"]
        for plural in ("trainjobs", "clustertrainingruntimes"):
            server.custom[f"trainer.kubeflow.org/{plural}"] = []
        yield server


def test_the_account_reads_the_logs_of_a_run(ranzcr, kfp_server, submitter: KubeServer):
    add_pod(
        submitter, kfp_server.add_run("tiny-1", "FAILED"), "train.executor", "Succeeded", **DONE
    )
    code, out, err = ranzcr("pipeline", "logs", "tiny-1")
    assert (code, err) == (0, "")
    assert "log of train.executor" in out


def test_the_doctor_warns_about_objects_that_the_account_may_not_read(kfp_server, submitter):
    findings = {item.name: item for item in doctor.examine("multi-node", "onprem", None)}
    problems = {name: item for name, item in findings.items() if item.outcome != "ok"}
    assert {item.outcome for item in problems.values()} == {"warn"}
    assert {
        name: item.text.split(" in ")[0].split(" (")[0] for name, item in problems.items()
    } == FORBIDDEN


def test_the_account_has_no_rights_that_it_does_not_need(ranzcr, kfp_server, submitter):
    """Our commands use each right, except to get a pod, which `kubectl logs` needs."""
    list(doctor.examine("multi-node", "onprem", None))
    list(doctor.examine(None, None, None))
    add_pod(
        submitter, kfp_server.add_run("tiny-1", "FAILED"), "train.executor", "Succeeded", **DONE
    )
    ranzcr("pipeline", "logs", "tiny-1")
    reads = [rbac.object_request(request.path) for request in submitter.requests]
    used = {
        # a role cannot name the pods of runs
        (
            read.group,
            read.resource,
            read.verb,
            None if read.resource.startswith("pods") else read.name,
        )
        for read in reads
        if read
    }
    kubernetes = [
        rule for rule in submitter.rules if rule["apiGroups"] != ["pipelines.kubeflow.org"]
    ]
    granted = {
        (rule["apiGroups"][0], resource, verb, name)
        for rule in kubernetes
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [None])
    }
    assert granted - used == {("", "pods", "get", None)}
