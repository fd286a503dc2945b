"""What the pods of a run said and how they ended, from a Kubernetes API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from kube_server import KubeServer, meta
from kubernetes import client as k8s

BEGAN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def kube(monkeypatch, tmp_path):
    with KubeServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        yield server


@pytest.fixture
def run(kfp_server):
    return kfp_server.add_run("tiny-1", "FAILED")


def status(name: str, **state) -> k8s.V1ContainerStatus:
    kinds = {
        "running": k8s.V1ContainerStateRunning,
        "terminated": k8s.V1ContainerStateTerminated,
        "waiting": k8s.V1ContainerStateWaiting,
    }
    ((kind, more),) = state.items()
    return k8s.V1ContainerStatus(
        name=name,
        image="i",
        image_id="i",
        ready=False,
        restart_count=0,
        state=k8s.V1ContainerState(**{kind: kinds[kind](**more)}),
    )


def add(kube: KubeServer, run, place: str, phase: str, **state) -> str:
    """A pod of the run at that place of Argo's tree; its log is its place."""
    number = len(kube.objects["pods"])
    name = f"tiny-{number}"
    statuses = [status("wait", running={}), status("main", **state)] if state else []
    kube.objects["pods"].insert(
        0,
        k8s.V1Pod(
            metadata=meta(
                name,
                labels={"pipeline/runid": run.run_id},
                annotations={"workflows.argoproj.io/node-name": f"tiny-x.root.{place}"},
                creation_timestamp=BEGAN + timedelta(minutes=number),
            ),
            status=k8s.V1PodStatus(phase=phase, container_statuses=statuses),
        ),
    )
    kube.logs[name] = f"said by {place}\nas the last\n"
    return name


DONE = {"terminated": {"exit_code": 0, "reason": "Completed"}}


def test_each_task_tells_its_pod_its_end_and_its_log(ranzcr, kube, run):
    add(kube, run, "ingest-driver", "Succeeded", **DONE)
    add(kube, run, "ingest.executor", "Succeeded", **DONE)
    add(
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
        "said by ingest.executor",
        "as the last",
        "== train, pod tiny-2: Failed, OOMKilled",
        "said by first-stage.item(1).train.executor",
        "as the last",
    ]


@pytest.mark.parametrize(
    ("phase", "state", "told"),
    [
        ("Failed", {"terminated": {"exit_code": 2, "reason": "Error"}}, "Failed, exit code 2"),
        ("Pending", {"waiting": {"reason": "ImagePullBackOff"}}, "Pending, ImagePullBackOff"),
        ("Pending", {"waiting": {"reason": "PodInitializing"}}, "Pending"),
        ("Running", {"running": {}}, "Running"),
        ("Pending", {}, "Pending"),
    ],
)
def test_a_pod_tells_why_it_ended_or_does_not_begin(ranzcr, kube, run, phase, state, told):
    add(kube, run, "train.executor", phase, **state)
    code, out, _ = ranzcr("pipeline", "logs", "tiny-1")
    assert code == 0
    assert out.splitlines()[0] == f"== train, pod tiny-0: {told}"
    assert ("said by" in out) == ("waiting" not in state and bool(state))


def test_a_stage_is_chosen_with_its_later_uses_and_attempts(ranzcr, kube, run):
    for place in ("train.executor(0)", "train.executor(1)", "train-2.executor", "trainer.executor"):
        add(kube, run, place, "Succeeded", **DONE)
    out = ranzcr("pipeline", "logs", "tiny-1", "--stage", "train")[1]
    assert [line for line in out.splitlines() if line.startswith("==")] == [
        "== train, pod tiny-0: Succeeded",
        "== train (attempt 2), pod tiny-1: Succeeded",
        "== train-2, pod tiny-2: Succeeded",
    ]


def test_an_unknown_stage_is_one_line(ranzcr, kube, run):
    add(kube, run, "train.executor", "Succeeded", **DONE)
    code, _, err = ranzcr("pipeline", "logs", "tiny-1", "--stage", "trian")
    assert (code, err) == (2, "ranzcr: the run has no pod of stage 'trian'; did you mean train?\n")


def test_pods_of_other_runs_and_namespaces_are_not_told(ranzcr, kube, run, kfp_server):
    add(kube, kfp_server.add_run("other-1", "RUNNING"), "train.executor", "Running", running={})
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
    add(kube, run, "train.executor", "Succeeded", **DONE)
    kube.fail(pattern, how, times=9)
    code, _, err = ranzcr("pipeline", "logs", "tiny-1")
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err


def test_without_a_kubeconfig_it_says_what_to_set(ranzcr, kfp_server, run, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "away"))
    code, _, err = ranzcr("pipeline", "logs", "tiny-1")
    assert code == 2
    assert "set KUBECONFIG to a file with a context of the cluster" in err
