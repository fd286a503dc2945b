"""A train task on several nodes: its TrainJob, from its creation to its end."""

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
from trainer_server import TrainerServer, Update

from components.train import train as one_node
from pipelines import hardware, kube, placement
from pipelines.trainer import job as trainjob
from pipelines.trainer import manifest, node
from pipelines.trainer.job import TrainingFailed, TrainJob
from pipelines.trainer.placing import train as across_nodes
from pipelines.trainer.settings import TrainJobSettings
from pipelines.trainer.task import _share, _stopped_by_sigterm, _take, _train
from ranzcr.errors import ClusterError, ConfigError, PipelineError

SETTINGS = TrainJobSettings(nodes=2, shm="16Gi", queue="gpu", timeout_seconds=3600)
OWNER = manifest.Owner("pod-a", "uid-a")
JOB = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/ranzcr/trainjobs"


def secret(name: str) -> dict:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "ranzcr-mlflow", "key": name}}}


def task_config(**changes: object) -> dsl.TaskConfig:
    """Return the hardware and settings that KFP passes through."""
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
    return manifest.build("train-x", SETTINGS, 8, task or task_config(), ["torchrun"], home, owner)


def test_the_job_has_no_field_that_trainer_does_not_know(monkeypatch):
    """Check the job before `build` passes it through the models, which drop unknown fields."""
    written = []
    from_dict = models.TrainerV1alpha1TrainJob.from_dict
    with monkeypatch.context() as patch:
        record = staticmethod(lambda job: written.append(job) or from_dict(job))
        patch.setattr(models.TrainerV1alpha1TrainJob, "from_dict", record)
        build()
    (job,) = written
    assert trainer_models.problems(job) == []


POD = ["runtimePatches", 0, "trainingRuntimeSpec", "template", "spec", "replicatedJobs", 0]
POD += ["template", "spec", "template", "spec"]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
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
def test_a_wrong_job_is_reported(path, value, problem):
    job = build()
    inner = job["spec"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (line,) = trainer_models.problems(job)
    assert line.endswith(problem)


def test_the_job_has_all_settings_of_the_profile():
    job = build()
    trainer, (patch,) = job["spec"]["trainer"], job["spec"]["runtimePatches"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["image"] == "example.com/ranzcr@sha256:0"
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "8"
    assert job["spec"]["activeDeadlineSeconds"] == 3600
    (replicated,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
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
    metadata = build()["metadata"]
    (owner,) = metadata["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Pod", "name": "pod-a", "uid": "uid-a"}
    assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert metadata["labels"]["pipeline/runid"] == "run-7"


def test_nodes_get_the_address_of_mlflow_and_only_references_to_secrets(monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "r1")
    field = {"name": "KFP_RUN_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}
    clear = {"name": "MLFLOW_TRACKING_TOKEN", "value": "hunter2"}
    job = build(task_config(env=[*task_config().env, field, clear]))
    variables = {item["name"]: item for item in job["spec"]["trainer"]["env"]}
    assert variables["MLFLOW_TRACKING_URI"]["value"] == "http://mlflow:5000"
    assert variables["MLFLOW_RUN_ID"]["value"] == "r1"
    assert variables["KFP_RUN_ID"] == {"name": "KFP_RUN_ID", "value": "run-7"}
    assert variables["RANZCR_HOME"]["value"] == "/srv/ranzcr"
    assert variables["MLFLOW_TRACKING_PASSWORD"] == secret("MLFLOW_TRACKING_PASSWORD")
    assert "hunter2" not in json.dumps(job)


def test_nodes_get_no_empty_variable(monkeypatch):
    """Kueue 0.19.2 writes a TrainJob back without empty values, and Trainer forbids the change."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "")
    field = {"name": "POD_LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}
    job = build(task_config(env=[*task_config().env, field]))
    names = {variable["name"] for variable in job["spec"]["trainer"]["env"]}
    assert not names & {"MLFLOW_RUN_ID", "POD_LABEL"}


def test_a_password_in_clear_is_refused():
    with pytest.raises(ConfigError, match=r"MLFLOW_TRACKING_PASSWORD is not from a secret.*train"):
        build(task_config(env=[{"name": "MLFLOW_TRACKING_PASSWORD", "value": "hunter2"}]))


def test_a_home_that_the_nodes_do_not_share_is_refused():
    with pytest.raises(ConfigError, match="RANZCR_HOME=/srv/ranzcr is on no volume that the nod"):
        build(task_config(volume_mounts=[]))


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


def test_the_job_is_created_reported_and_deleted(cluster, job, capfd, tmp_path):
    cluster.updates = [
        Update(("Suspended", "suspended")),
        Update(("Suspended", "suspended")),
        Update(log=("epoch 1", "epoch 1")),
        Update(log=("epoch 2",)),
        Update(log=("again",), restarted=True),
        Update(("Complete", "done"), log=("out: AUC 0.9",)),
    ]
    _train(job)
    assert capfd.readouterr().err.splitlines() == [
        "TrainJob train-x is suspended: it waits for its queue",
        "TrainJob train-x is admitted",
        *("epoch 1", "epoch 1", "epoch 2", "again", "out: AUC 0.9"),
    ]
    assert len(cluster.created) == 1
    assert not cluster.jobs
    assert (tmp_path / "alive").exists()


@pytest.mark.parametrize("how", [500, 503, 429, 401, "cut", "lost", "silent"])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_failed_request_is_repeated(cluster, job, how, method):
    cluster.updates = [Update(), Update(), Update(("Complete", "done"))]
    cluster.fail(f"{method} {JOB}.*", how, times=2)
    _train(job)
    assert len(cluster.created) == 1
    assert not cluster.jobs


def test_a_log_that_cannot_be_read_for_a_while_loses_no_line(cluster, job, capfd):
    cluster.updates = [
        *(
            Update(log=("one",)),
            Update(log=("two",)),
            Update(log=("three",)),
            Update(log=("four",)),
        ),
        Update(("Complete", "done")),
    ]
    cluster.fail(".*/pods/.*/log", 500)
    cluster.fail(".*/pods/.*/log", "cut")
    cluster.fail(".*/pods", 500)
    _train(job)
    assert capfd.readouterr().err.split() == ["one", "two", "three", "four"]


def test_an_api_that_does_not_come_back_ends_the_task(cluster, job, monkeypatch, capfd):
    for name in ("PATIENCE", "LAST_PATIENCE"):
        monkeypatch.setattr(trainjob, name, 0.05)
    cluster.updates = [Update()]
    cluster.fail(f"GET {JOB}.*", 503, times=10_000)
    with pytest.raises(ClusterError, match="Kubernetes answers 503"):
        _train(job)
    assert "TrainJob train-x is left" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("status", "message"), [(403, "forbids TrainJob to create"), (422, "answers 422")]
)
def test_a_permanent_refusal_is_reported_at_once(cluster, job, status, message):
    cluster.fail(f"POST {JOB}", status, times=10)
    with pytest.raises(ClusterError, match=message):
        _train(job)
    assert len(cluster.lines("POST")) == 1


def test_a_cluster_without_trainer_is_reported(cluster, job):
    cluster.installed = False
    with pytest.raises(ClusterError, match="knows no TrainJob; install Kubeflow Trainer"):
        _train(job)


def test_the_task_ends_with_the_exit_code_and_reason_of_its_node(cluster, job, capfd):
    cluster.updates = [Update(("Failed", "jobset failed"), exits={1: (137, "OOMKilled")})]
    with pytest.raises(SystemExit) as stopped:
        _train(job)
    assert stopped.value.code == 137
    line = "train: TrainJob train-x failed: jobset failed; node 1: OOMKilled, exit code 137\n"
    assert capfd.readouterr().err == line
    assert not cluster.jobs


def test_the_exit_code_is_kept_after_kubernetes_has_deleted_the_pods(cluster, job, capfd):
    cluster.updates = [
        Update(exits={0: (143, "Error"), 1: (137, "OOMKilled")}),
        Update(("Failed", "jobset failed"), pods_deleted=True),
    ]
    with pytest.raises(SystemExit) as stopped:
        _train(job)
    assert stopped.value.code == 137
    assert "node 1: OOMKilled, exit code 137" in capfd.readouterr().err


def test_a_deadline_is_reported(cluster, job):
    cluster.updates = [Update(("Failed", "deadline exceeded"))]
    job.start()
    with pytest.raises(TrainingFailed, match=r"TrainJob train-x failed: deadline exceeded$"):
        job.wait()


def test_an_error_that_the_user_can_fix_ends_the_job_before_it_is_retried(cluster, job):
    cluster.updates = [Update(log=("ranzcr: crashed because of a bug",)), Update()]
    cluster.updates.append(Update(log=("ranzcr: fold 7: the data set has folds 0 to 2",)))
    with pytest.raises(PipelineError, match=r"^fold 7: the data set has folds 0 to 2$"):
        _train(job)
    assert not cluster.jobs


def test_waiting_ends_if_somebody_deletes_the_job(cluster, job):
    job.start()
    cluster.jobs.clear()
    with pytest.raises(PipelineError, match="TrainJob train-x was deleted; resume"):
        job.wait()


def add_other_task(cluster: TrainerServer, phase: str, uid: str = "uid-b") -> None:
    cluster.jobs["train-x"] = build(owner=manifest.Owner("pod-b", uid))
    pod = k8s.V1Pod(metadata=meta("pod-b", uid="uid-b"), status=k8s.V1PodStatus(phase=phase))
    cluster.objects["pods"] = [pod]


@pytest.mark.parametrize(("phase", "uid"), [("Failed", "uid-b"), ("Running", "an older pod's")])
def test_a_job_that_a_dead_task_left_behind_is_replaced(cluster, job, phase, uid):
    add_other_task(cluster, phase, uid)
    job.start()
    assert cluster.jobs["train-x"]["metadata"]["ownerReferences"][0]["uid"] == "uid-a"


def test_the_job_of_another_running_task_is_kept(cluster, job):
    add_other_task(cluster, "Running")
    with pytest.raises(ClusterError, match=r"pod pod-b trains the same experiment and fold"):
        _train(job)
    assert cluster.jobs["train-x"]["metadata"]["ownerReferences"][0]["uid"] == "uid-b"


def test_a_failed_deletion_is_reported_with_its_fix(cluster, job, capfd, monkeypatch):
    monkeypatch.setattr(trainjob, "LAST_PATIENCE", 0.05)
    cluster.fail(f"DELETE {JOB}.*", 503, times=10_000)
    _train(job)
    assert "kubectl -n ranzcr delete trainjob train-x" in capfd.readouterr().err


def test_sigterm_while_waiting_deletes_the_job(cluster, job):
    cluster.updates = [Update()]
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
    copy = _share(source, "datasets", "d1")
    shutil.rmtree(source)
    assert _share(source, "datasets", "d1") == copy
    assert (copy / "table").read_text() == "1"
    assert [path.name for path in copy.parent.iterdir()] == ["d1"]


def test_a_missing_checkpoint_is_reported(tmp_path):
    with pytest.raises(PipelineError, match="checkpoint: not there after the training"):
        _take(tmp_path / "checkpoint", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_node_ends_if_no_task_waits_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "POLL", 0.05)
    monkeypatch.setattr(node, "PATIENCE", 0.1)
    alive = tmp_path / "alive"
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert node.main(alive, ["sleep", "60"]) == 0
    assert node.main(alive, ["sh", "-c", "exit 3"]) == 3
    assert node.main(alive, ["sh", "-c", "kill -9 $$"]) == 137


def test_a_node_continues_while_a_task_waits_and_forwards_signals(tmp_path):
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
def test_only_the_first_node_gets_the_run_of_the_task(tmp_path, monkeypatch, rank, expected):
    monkeypatch.setenv("PET_NODE_RANK", rank)
    monkeypatch.setenv("MLFLOW_RUN_ID", "r1")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    script = f'test "${{MLFLOW_RUN_ID:-none}}" = {expected}'
    assert node.main(tmp_path / "alive", ["sh", "-c", script]) == 0


def test_the_two_train_tasks_take_the_same_inputs():
    across, single = across_nodes.component_spec, one_node.component_spec
    assert across.inputs.keys() - single.inputs.keys() == {"task_config"}
    assert single.inputs.keys() <= across.inputs.keys()
    assert all(across.inputs[name] == spec for name, spec in single.inputs.items())
    assert across.outputs == single.outputs
    assert across.implementation.container.args == single.implementation.container.args


@dsl.pipeline(name="tiny")
def tiny(digest: str):
    data = dsl.importer(artifact_uri="s3://b/d", artifact_class=dsl.Dataset).output
    one_node(config="{}", fold="0", dataset=data, dataset_digest=digest, code="")


def test_a_profile_with_several_nodes_gives_its_hardware_to_the_job(tmp_path):
    path = tmp_path / "compiled.yaml"
    profile, provider = hardware.profile("multi-node"), hardware.provider("generic")
    image = "example.com/ranzcr@sha256:" + "0" * 64
    placed = placement.placed(tiny, profile, provider, image, "0")
    compiler.Compiler().compile(placed, str(path))
    pipeline, platform = yaml.safe_load_all(path.read_text())
    through = pipeline["components"]["comp-train"]["taskConfigPassthroughs"]
    to_pod = {item["field"] for item in through if item.get("applyToTask")}
    assert to_pod == {"ENV", "KUBERNETES_VOLUMES"}
    assert {"RESOURCES", "KUBERNETES_TOLERATIONS", "KUBERNETES_NODE_SELECTOR"} < {
        item["field"] for item in through
    }
    container = pipeline["deploymentSpec"]["executors"]["exec-train"]["container"]
    variables = {item["name"]: item["value"] for item in container["env"]}
    settings = TrainJobSettings.model_validate_json(variables["RANZCR_TRAINJOB"])
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
def test_a_profile_that_cannot_train_on_several_nodes_is_refused(tmp_path, text, message):
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"{text}\nabout: mine\nhardware: {{training: {{nodes: 2}}}}\n")
    with pytest.raises(ConfigError, match=message):
        hardware.profile(str(mine))
