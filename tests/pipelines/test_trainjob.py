"""A train task over several nodes: its TrainJob, from its creation to its end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import trainer_models
import yaml
from kfp import compiler, dsl
from kube_server import meta
from kubeflow_trainer_api import models
from kubernetes import client as k8s
from trainer_server import Look, TrainerServer

from components.train import train as one_node
from pipelines import hardware, kube, placement
from pipelines.trainer import job as trainjob
from pipelines.trainer import manifest, node
from pipelines.trainer.job import TrainingFailed, TrainJob
from pipelines.trainer.placing import train as across_nodes
from pipelines.trainer.settings import Settings
from pipelines.trainer.task import _share, _stopped_by_sigterm, _take, _train
from ranzcr.errors import ClusterError, ConfigError, PipelineError

SETTINGS = Settings(nodes=2, shm="16Gi", queue="gpu", timeout_seconds=3600)
OWNER = manifest.Owner("pod-a", "uid-a")
JOB = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/ranzcr/trainjobs"


def secret(name: str) -> dict:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "ranzcr-mlflow", "key": name}}}


def passed(**changes: object) -> dsl.TaskConfig:
    """What KFP passes through."""
    config = dsl.TaskConfig(
        resources={"limits": {"nvidia.com/gpu": "8", "memory": "64Gi"}},
        env=[secret("MLFLOW_TRACKING_USERNAME"), secret("MLFLOW_TRACKING_PASSWORD")],
        node_selector={"ranzcr/pool": "gpu-8x"},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        volumes=[{"name": "work", "persistentVolumeClaim": {"claimName": "ranzcr-work"}}],
        volume_mounts=[{"name": "work", "mountPath": "/srv"}],
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return config


@pytest.fixture(autouse=True)
def _task(monkeypatch):
    """The environment of a task's pod."""
    monkeypatch.setenv("RANZCR_IMAGE", "example.com/ranzcr@sha256:0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("KFP_RUN_ID", "run-7")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")


def build(task: dsl.TaskConfig | None = None, owner: manifest.Owner = OWNER) -> dict:
    home = Path("/srv/ranzcr")
    return manifest.build("train-x", SETTINGS, 8, task or passed(), ["torchrun"], home, owner)


def test_the_job_has_no_field_that_trainer_does_not_know(monkeypatch):
    """As it is written: what `build` returns has gone through the models already."""
    written = []
    through = models.TrainerV1alpha1TrainJob.from_dict
    with monkeypatch.context() as patch:
        seen = staticmethod(lambda job: written.append(job) or through(job))
        patch.setattr(models.TrainerV1alpha1TrainJob, "from_dict", seen)
        build()
    (job,) = written
    assert trainer_models.problems(job) == []


POD = ["runtimePatches", 0, "trainingRuntimeSpec", "template", "spec", "replicatedJobs", 0]
POD += ["template", "spec", "template", "spec"]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["timeoutSeconds"], 60, "$.spec.timeoutSeconds: unknown"),
        (["trainer", "nodes"], 2, "$.spec.trainer.nodes: unknown"),
        (["trainer", "numNodes"], "2", "numNodes: Input should be a valid integer"),
        (["trainer", "command"], "torchrun", "command: Input should be a valid list"),
        (["trainer", "env", 0], {"name": "A", "from": {}}, "env.0.from: unknown"),
        (["runtimeRef"], {"kind": "TrainingRuntime"}, "Ref name: Input should be a valid string"),
        ([*POD, "hostNetwork"], True, "template.spec.hostNetwork: unknown"),
        ([*POD, "containers", 0, "image"], "x", "containers.0.image: unknown"),
        ([*POD, "volumes", 0, "size"], "1Gi", "volumes.0.size: unknown"),
    ],
)
def test_a_wrong_job_is_found(path, value, said):
    job = build()
    inner = job["spec"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (line,) = trainer_models.problems(job)
    assert line.endswith(said)


def test_the_job_has_all_that_the_profile_says():
    made = build()
    trainer, (patch,) = made["spec"]["trainer"], made["spec"]["runtimePatches"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["image"] == "example.com/ranzcr@sha256:0"
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "8"
    assert made["spec"]["activeDeadlineSeconds"] == 3600
    (of_nodes,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = of_nodes["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"ranzcr/pool": "gpu-8x"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert [volume["name"] for volume in pod["volumes"]] == ["work", "shm"]
    assert pod["volumes"][1]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    (container,) = pod["containers"]
    assert "env" not in container  # Trainer refuses variables of its container here
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/srv", "/dev/shm"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_job_belongs_to_the_tasks_pod_its_queue_and_its_run():
    told = build()["metadata"]
    (owner,) = told["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Pod", "name": "pod-a", "uid": "uid-a"}
    assert told["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert told["labels"]["pipeline/runid"] == "run-7"


def test_nodes_get_mlflow_by_its_address_and_secrets_by_reference_alone(monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "r1")
    field = {"name": "KFP_RUN_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}
    clear = {"name": "MLFLOW_TRACKING_TOKEN", "value": "hunter2"}
    made = build(passed(env=[*passed().env, field, clear]))
    found = {one["name"]: one for one in made["spec"]["trainer"]["env"]}
    assert found["MLFLOW_TRACKING_URI"]["value"] == "http://mlflow:5000"
    assert found["MLFLOW_RUN_ID"]["value"] == "r1"
    assert found["KFP_RUN_ID"] == {"name": "KFP_RUN_ID", "value": "run-7"}
    assert found["RANZCR_HOME"]["value"] == "/srv/ranzcr"
    assert found["MLFLOW_TRACKING_PASSWORD"] == secret("MLFLOW_TRACKING_PASSWORD")
    assert "hunter2" not in json.dumps(made)


def test_nodes_get_no_empty_variable(monkeypatch):
    """Kueue 0.19.2 writes a TrainJob back without empty values, and Trainer forbids the change."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "")
    field = {"name": "POD_LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}
    made = build(passed(env=[*passed().env, field]))
    names = {one["name"] for one in made["spec"]["trainer"]["env"]}
    assert not names & {"MLFLOW_RUN_ID", "POD_LABEL"}


def test_a_password_in_clear_is_refused():
    with pytest.raises(ConfigError, match=r"MLFLOW_TRACKING_PASSWORD is not from a secret.*train"):
        build(passed(env=[{"name": "MLFLOW_TRACKING_PASSWORD", "value": "hunter2"}]))


def test_a_home_that_the_nodes_do_not_share_is_refused():
    with pytest.raises(ConfigError, match="RANZCR_HOME=/srv/ranzcr is on no volume that the nod"):
        build(passed(volume_mounts=[]))


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    monkeypatch.setattr(trainjob, "POLL", 0.01)
    monkeypatch.setattr(kube, "LIMITS", (1, 0.3))
    monkeypatch.setattr(kube, "_RETRIES", False)
    with TrainerServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        yield server


@pytest.fixture
def job(cluster, tmp_path) -> TrainJob:
    return TrainJob(kube.connect(), "ranzcr", build(), tmp_path / "alive")


def test_the_job_is_made_told_of_and_deleted(cluster, job, capfd, tmp_path):
    cluster.looks = [
        Look(("Suspended", "suspended")),
        Look(("Suspended", "suspended")),
        Look(says=("epoch 1", "epoch 1")),
        Look(says=("epoch 2",)),
        Look(says=("again",), restarted=True),
        Look(("Complete", "done"), says=("out: AUC 0.9",)),
    ]
    _train(job)
    assert capfd.readouterr().err.splitlines() == [
        "TrainJob train-x is suspended: it waits for its queue",
        "TrainJob train-x is admitted",
        *("epoch 1", "epoch 1", "epoch 2", "again", "out: AUC 0.9"),
    ]
    assert len(cluster.made) == 1
    assert not cluster.jobs
    assert (tmp_path / "alive").exists()


@pytest.mark.parametrize("how", [500, 503, 429, 401, "cut", "lost", "silent"])
@pytest.mark.parametrize("asked", ["POST", "GET", "DELETE"])
def test_an_api_that_stumbles_is_asked_again(cluster, job, how, asked):
    cluster.looks = [Look(), Look(), Look(("Complete", "done"))]
    cluster.fail(f"{asked} {JOB}.*", how, times=2)
    _train(job)
    assert len(cluster.made) == 1
    assert not cluster.jobs


def test_a_log_that_cannot_be_read_for_a_while_loses_no_line(cluster, job, capfd):
    cluster.looks = [
        *(Look(says=("one",)), Look(says=("two",)), Look(says=("three",)), Look(says=("four",))),
        Look(("Complete", "done")),
    ]
    cluster.fail(".*/pods/.*/log", 500)
    cluster.fail(".*/pods/.*/log", "cut")
    cluster.fail(".*/pods", 500)
    _train(job)
    assert capfd.readouterr().err.split() == ["one", "two", "three", "four"]


def test_an_api_that_stays_away_ends_the_task(cluster, job, monkeypatch, capfd):
    for name in ("PATIENCE", "LAST_PATIENCE"):
        monkeypatch.setattr(trainjob, name, 0.05)
    cluster.looks = [Look()]
    cluster.fail(f"GET {JOB}.*", 503, times=10_000)
    with pytest.raises(ClusterError, match="Kubernetes answers 503"):
        _train(job)
    assert "TrainJob train-x is left" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("status", "words"), [(403, "forbids TrainJob to create"), (422, "answers 422")]
)
def test_a_refusal_that_will_not_pass_is_told_at_once(cluster, job, status, words):
    cluster.fail(f"POST {JOB}", status, times=10)
    with pytest.raises(ClusterError, match=words):
        _train(job)
    assert len(cluster.lines("POST")) == 1


def test_a_cluster_without_trainer_is_told(cluster, job):
    cluster.installed = False
    with pytest.raises(ClusterError, match="knows no TrainJob; install Kubeflow Trainer"):
        _train(job)


def test_the_nodes_exit_code_and_reason_are_the_tasks(cluster, job, capfd):
    cluster.looks = [Look(("Failed", "jobset failed"), codes={1: (137, "OOMKilled")})]
    with pytest.raises(SystemExit) as stopped:
        _train(job)
    assert stopped.value.code == 137
    line = "train: TrainJob train-x failed: jobset failed; node 1: OOMKilled, exit code 137\n"
    assert capfd.readouterr().err == line
    assert not cluster.jobs


def test_the_exit_code_is_known_after_kubernetes_has_deleted_the_pods(cluster, job, capfd):
    cluster.looks = [
        Look(codes={0: (143, "Error"), 1: (137, "OOMKilled")}),
        Look(("Failed", "jobset failed"), swept=True),
    ]
    with pytest.raises(SystemExit) as stopped:
        _train(job)
    assert stopped.value.code == 137
    assert "node 1: OOMKilled, exit code 137" in capfd.readouterr().err


def test_a_deadline_is_told(cluster, job):
    cluster.looks = [Look(("Failed", "deadline exceeded"))]
    job.start()
    with pytest.raises(TrainingFailed, match=r"TrainJob train-x failed: deadline exceeded$"):
        job.wait()


def test_an_error_that_the_user_can_mend_ends_the_job_before_it_is_tried_again(cluster, job):
    cluster.looks = [Look(says=("ranzcr: crashed because of a bug",)), Look()]
    cluster.looks.append(Look(says=("ranzcr: fold 7: the data set has folds 0 to 2",)))
    with pytest.raises(PipelineError, match=r"^fold 7: the data set has folds 0 to 2$"):
        _train(job)
    assert not cluster.jobs


def test_a_job_that_somebody_deletes_is_not_waited_for(cluster, job):
    job.start()
    cluster.jobs.clear()
    with pytest.raises(PipelineError, match="TrainJob train-x was deleted; resume"):
        job.wait()


def left_behind(cluster: TrainerServer, phase: str, uid: str = "uid-b") -> None:
    cluster.jobs["train-x"] = build(owner=manifest.Owner("pod-b", uid))
    pod = k8s.V1Pod(metadata=meta("pod-b", uid="uid-b"), status=k8s.V1PodStatus(phase=phase))
    cluster.objects["pods"] = [pod]


@pytest.mark.parametrize(("phase", "uid"), [("Failed", "uid-b"), ("Running", "an older pod's")])
def test_a_job_that_a_dead_task_left_behind_is_replaced(cluster, job, phase, uid):
    left_behind(cluster, phase, uid)
    job.start()
    assert cluster.jobs["train-x"]["metadata"]["ownerReferences"][0]["uid"] == "uid-a"


def test_a_living_task_that_trains_the_same_is_left_alone(cluster, job):
    left_behind(cluster, "Running")
    with pytest.raises(ClusterError, match=r"pod pod-b trains the same experiment and fold"):
        _train(job)
    assert cluster.jobs["train-x"]["metadata"]["ownerReferences"][0]["uid"] == "uid-b"


def test_a_failed_deletion_says_what_to_do(cluster, job, capfd, monkeypatch):
    monkeypatch.setattr(trainjob, "LAST_PATIENCE", 0.05)
    cluster.fail(f"DELETE {JOB}.*", 503, times=10_000)
    _train(job)
    assert "kubectl -n ranzcr delete trainjob train-x" in capfd.readouterr().err


def test_sigterm_while_waiting_deletes_the_job(cluster, job):
    cluster.looks = [Look()]
    threading.Thread(target=_term_when, args=(lambda: cluster.lines("GET"),), daemon=True).start()
    with pytest.raises(SystemExit) as stopped, _stopped_by_sigterm():
        _train(job)
    assert stopped.value.code == 143
    assert not cluster.jobs
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def _term_when(ready) -> None:
    while not ready():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_data_set_is_copied_to_the_shared_volume_once(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "table").write_text("1")
    there = _share(source, "datasets", "d1")
    shutil.rmtree(source)
    assert _share(source, "datasets", "d1") == there
    assert (there / "table").read_text() == "1"
    assert [path.name for path in there.parent.iterdir()] == ["d1"]


def test_a_checkpoint_that_never_came_is_told(tmp_path):
    with pytest.raises(PipelineError, match="checkpoint: not there after the training"):
        _take(tmp_path / "checkpoint", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_node_ends_when_nobody_waits_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "POLL", 0.05)
    monkeypatch.setattr(node, "PATIENCE", 0.1)
    alive = tmp_path / "alive"
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert node.main(alive, ["sleep", "60"]) == 0
    assert node.main(alive, ["sh", "-c", "exit 3"]) == 3
    assert node.main(alive, ["sh", "-c", "kill -9 $$"]) == 137


def test_a_node_goes_on_while_it_is_waited_for_and_hands_signals_on(tmp_path):
    script = (
        "import sys; from pathlib import Path; from pipelines.trainer import node; "
        "node.POLL = node.PATIENCE = 0.2; sys.exit(node.main(Path(sys.argv[1]), sys.argv[2:]))"
    )
    trap = "trap 'exit 9' TERM; echo started; while :; do sleep 0.05; done"
    command = [sys.executable, "-c", script, str(tmp_path / "alive"), "sh", "-c", trap]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        running.stdout.readline()
        for number in range(10):
            (tmp_path / "alive").touch()
            os.utime(tmp_path / "alive", (number, number))
            time.sleep(0.1)
        assert running.poll() is None
        running.terminate()
        assert running.wait() == 9


@pytest.mark.parametrize(("rank", "expected"), [("0", "r1"), ("1", "none")])
def test_the_run_of_the_task_is_for_the_first_node_alone(tmp_path, monkeypatch, rank, expected):
    monkeypatch.setenv("PET_NODE_RANK", rank)
    monkeypatch.setenv("MLFLOW_RUN_ID", "r1")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    told = f'test "${{MLFLOW_RUN_ID:-none}}" = {expected}'
    assert node.main(tmp_path / "alive", ["sh", "-c", told]) == 0


def test_the_two_train_tasks_take_the_same_inputs():
    ours, theirs = across_nodes.component_spec, one_node.component_spec
    assert ours.inputs.keys() - theirs.inputs.keys() == {"task_config"}
    assert theirs.inputs.keys() <= ours.inputs.keys()
    assert all(ours.inputs[name] == spec for name, spec in theirs.inputs.items())
    assert ours.outputs == theirs.outputs
    assert ours.implementation.container.args == theirs.implementation.container.args


@dsl.pipeline(name="tiny")
def tiny(digest: str):
    data = dsl.importer(artifact_uri="s3://b/d", artifact_class=dsl.Dataset).output
    one_node(config="{}", fold="0", dataset=data, dataset_digest=digest, code="")


def test_a_profile_of_several_nodes_gives_its_hardware_to_the_job(tmp_path):
    path = tmp_path / "compiled.yaml"
    profile, provider = hardware.profile("multi-node"), hardware.provider("generic")
    image = "example.com/ranzcr@sha256:" + "0" * 64
    placed = placement.placed(tiny, profile, provider, image, "0")
    compiler.Compiler().compile(placed, str(path))
    pipeline, platform = yaml.safe_load_all(path.read_text())
    through = pipeline["components"]["comp-train"]["taskConfigPassthroughs"]
    to_pod = {one["field"] for one in through if one.get("applyToTask")}
    assert to_pod == {"ENV", "KUBERNETES_VOLUMES"}
    assert {"RESOURCES", "KUBERNETES_TOLERATIONS", "KUBERNETES_NODE_SELECTOR"} < {
        one["field"] for one in through
    }
    container = pipeline["deploymentSpec"]["executors"]["exec-train"]["container"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    settings = Settings.model_validate_json(variables["RANZCR_TRAINJOB"])
    assert (settings.nodes, settings.queue) == (2, "gpu")
    executor = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    assert "podMetadata" not in executor  # the job waits in the queue, not the task


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: gpu-small", r"stages\.predict: hardware 'training' has several nodes, which on"),
        ("extends: gpu-8x\nvolume: null", "over several nodes needs a volume that they share"),
    ],
)
def test_a_profile_that_cannot_train_over_nodes_is_refused(tmp_path, text, message):
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"{text}\nabout: mine\nhardware: {{training: {{nodes: 2}}}}\n")
    with pytest.raises(ConfigError, match=message):
        hardware.profile(str(mine))
