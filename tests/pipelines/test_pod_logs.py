"""The logs of a run's pods and how they ended, from a Kubernetes API."""

from __future__ import annotations

import pytest
from kube_server import DONE, KubeServer, add_pod


@pytest.fixture
def kube(monkeypatch, tmp_path):
    with KubeServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        yield server


@pytest.fixture
def run(kfp_server):
    return kfp_server.add_run("tiny-1", "FAILED")


def test_each_task_is_shown_with_its_pod_its_end_and_its_log(ranzcr, kube, run):
    add_pod(kube, run, "ingest-driver", "Succeeded", **DONE)
    add_pod(kube, run, "ingest.executor", "Succeeded", **DONE)
    add_pod(
        kube,
        run,
        "first-stage.item(1).train.executor",
        "Failed",
        terminated={"exit_code": 137, "reason": "OOMKilled"},
    )
    code, out, err = ranzcr("pipeline", "logs", "tiny-1")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "== ingest, pod tiny-1: Succeeded",
        "log of ingest.executor",
        "last line",
        "== train, pod tiny-2: Failed, OOMKilled",
        "log of first-stage.item(1).train.executor",
        "last line",
    ]


@pytest.mark.parametrize(
    ("phase", "state", "description"),
    [
        ("Failed", {"terminated": {"exit_code": 2, "reason": "Error"}}, "Failed, exit code 2"),
        ("Pending", {"waiting": {"reason": "ImagePullBackOff"}}, "Pending, ImagePullBackOff"),
        ("Pending", {"waiting": {"reason": "PodInitializing"}}, "Pending"),
        ("Running", {"running": {}}, "Running"),
        ("Pending", {}, "Pending"),
    ],
)
def test_the_reason_why_a_pod_ended_or_does_not_start_is_shown(
    ranzcr, kube, run, phase, state, description
):
    add_pod(kube, run, "train.executor", phase, **state)
    code, out, _ = ranzcr("pipeline", "logs", "tiny-1")
    assert code == 0
    assert out.splitlines()[0] == f"== train, pod tiny-0: {description}"
    assert ("log of" in out) == ("waiting" not in state and bool(state))


def test_the_pods_of_a_stage_include_its_numbered_uses_and_attempts(ranzcr, kube, run):
    for place in ("train.executor(0)", "train.executor(1)", "train-2.executor", "trainer.executor"):
        add_pod(kube, run, place, "Succeeded", **DONE)
    out = ranzcr("pipeline", "logs", "tiny-1", "--stage", "train")[1]
    assert [line for line in out.splitlines() if line.startswith("==")] == [
        "== train, pod tiny-0: Succeeded",
        "== train (attempt 2), pod tiny-1: Succeeded",
        "== train-2, pod tiny-2: Succeeded",
    ]


def test_an_unknown_stage_is_one_line(ranzcr, kube, run):
    add_pod(kube, run, "train.executor", "Succeeded", **DONE)
    code, _, err = ranzcr("pipeline", "logs", "tiny-1", "--stage", "trian")
    assert (code, err) == (2, "ranzcr: the run has no pod of stage 'trian'; did you mean train?\n")


def test_pods_of_other_runs_are_not_shown(ranzcr, kube, run, kfp_server):
    add_pod(kube, kfp_server.add_run("other-1", "RUNNING"), "train.executor", "Running", running={})
    code, out, err = ranzcr("pipeline", "logs", "tiny-1")
    assert (code, out) == (0, "")
    assert err == "run tiny-1 has no pods in namespace ranzcr\n"


@pytest.mark.parametrize(
    ("pattern", "how", "message"),
    [
        ("GET .*/pods", 403, "Kubernetes forbids pods of namespace ranzcr (403)"),
        ("GET .*/log", 404, "there is no log of pod tiny-0"),
        ("GET .*/pods", "lost", "Kubernetes does not answer (pods of namespace ranzcr)"),
        ("GET .*/log", "cut", "Kubernetes does not answer (log of pod tiny-0)"),
    ],
)
def test_a_kubernetes_that_fails_is_one_line(ranzcr, kube, run, pattern, how, message):
    add_pod(kube, run, "train.executor", "Succeeded", **DONE)
    kube.fail(pattern, how, times=9)
    code, _, err = ranzcr("pipeline", "logs", "tiny-1")
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err


def test_a_missing_kubeconfig_is_reported_with_its_fix(
    ranzcr, kfp_server, run, monkeypatch, tmp_path
):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "away"))
    code, _, err = ranzcr("pipeline", "logs", "tiny-1")
    assert code == 2
    assert "set KUBECONFIG to a file with a context of the cluster" in err
