"""The account of who submits from outside may do all that its commands ask of Kubernetes."""

from __future__ import annotations

import pytest
import rbac
from kube_server import DONE, KubeServer, add_pod, furnish
from manifests import find, needs_kubectl, render

from pipelines import doctor

pytestmark = needs_kubectl

# What is not of our namespace, or is secret, may not be looked at; the doctor then warns.
UNSEEN = {
    "Secret ranzcr-mlflow": "Kubernetes forbids secret ranzcr-mlflow",
    "Secret ranzcr-s3": "Kubernetes forbids secret ranzcr-s3",
    "Secret ranzcr-kaggle": "Kubernetes forbids secret ranzcr-kaggle",
    "node pool gpu-8x": "Kubernetes forbids nodes",
    "nodes of gpu-8x": "Kubernetes forbids nodes",
    "Kubeflow Trainer": "Kubernetes forbids clustertrainingruntimes",
}


@pytest.fixture
def submitter(monkeypatch, tmp_path):
    """A cluster that has it all, asked by the account; `rules` are those of its Role."""
    objects = render("onprem")
    binding = find(objects, "RoleBinding/pipeline-submitter")
    assert [one["name"] for one in binding["subjects"]] == ["pipeline-submitter"]
    with KubeServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        furnish(server)
        server.rules = find(objects, f"Role/{binding['roleRef']['name']}")["rules"]
        for plural in ("trainjobs", "clustertrainingruntimes"):
            server.custom[f"trainer.kubeflow.org/{plural}"] = []
        yield server


def test_it_reads_the_logs_of_a_run(ranzcr, kfp_server, submitter: KubeServer):
    add_pod(
        submitter, kfp_server.add_run("tiny-1", "FAILED"), "train.executor", "Succeeded", **DONE
    )
    code, out, err = ranzcr("pipeline", "logs", "tiny-1")
    assert (code, err) == (0, "")
    assert "said by train.executor" in out


def test_what_it_may_not_look_at_is_known(kfp_server, submitter):
    findings = {one.name: one for one in doctor.examine("multi-node", "onprem", None)}
    unseen = {name: one for name, one in findings.items() if one.outcome != "ok"}
    assert {one.outcome for one in unseen.values()} == {"warn"}
    assert {
        name: one.text.split(" in ")[0].split(" (")[0] for name, one in unseen.items()
    } == UNSEEN


def test_it_may_look_at_nothing_more(ranzcr, kfp_server, submitter):
    """Each right to look is used, but for one pod's own object, which kubectl logs asks for."""
    list(doctor.examine("multi-node", "onprem", None))
    list(doctor.examine(None, None, None))
    add_pod(
        submitter, kfp_server.add_run("tiny-1", "FAILED"), "train.executor", "Succeeded", **DONE
    )
    ranzcr("pipeline", "logs", "tiny-1")
    looks = [rbac.look(one.path) for one in submitter.asked]
    used = {(one.group, one.resource, one.verb, one.name) for one in looks if one}
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
    used = {(*one[:3], None if one[1].startswith("pods") else one[3]) for one in used}
    assert granted - used == {("", "pods", "get", None)}
