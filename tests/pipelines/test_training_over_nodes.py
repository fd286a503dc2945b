"""KFP's executor runs the train task; the nodes of its TrainJob are processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from loopback import Answer, Request
from mlflow import MlflowClient
from trainer_server import TrainerServer, Update

from pipelines.trainer import settings
from pipelines.trainer.placing import train
from ranzcr import config
from ranzcr.data.dataset import Dataset
from ranzcr.documents import CheckpointMetrics
from ranzcr.models import checkpoint

pytestmark = pytest.mark.service  # two processes import torch, twice

BIN = Path(sys.executable).parent


@dataclass
class Nodes(TrainerServer):
    """A cluster whose nodes are processes on loopback, with the variables that Trainer sets."""

    folder: Path = Path()
    processes: list[subprocess.Popen] = field(default_factory=list)
    restarting: bool = False

    def restart(self) -> None:
        """Kill all nodes at once and start them again, as Kubernetes does."""
        self.restarting = True
        for process in self.processes:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()
        self._start()
        self.restarting = False

    def _create(self, request: Request, namespace: str) -> Answer:
        answer = super()._create(request, namespace)
        self._start()
        return answer

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        trainer = self.created[-1]["spec"]["trainer"]
        trainer_variables = {
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(port),
            **{item["name"]: item["value"] for item in trainer["env"]},
        }
        self.processes = []
        for rank in range(trainer["numNodes"]):
            variables = {**_clean(), **trainer_variables, "PET_NODE_RANK": str(rank)}
            with open(self.folder / f"log{rank}", "a") as log:
                self.processes.append(
                    subprocess.Popen(trainer["command"], stdout=log, stderr=log, env=variables)
                )

    def _job(self, request: Request, namespace: str, name: str) -> Answer:
        lines = (self.folder / "log0").read_text().splitlines()
        codes = [process.poll() for process in self.processes]
        condition = None
        if None not in codes and not self.restarting:
            condition = ("Failed", "jobset failed") if any(codes) else ("Complete", "done")
        exits = {rank: (code, "Error") for rank, code in enumerate(codes) if code}
        self.updates = [Update(condition, tuple(lines[self._lines :]), exits)]
        return super()._job(request, namespace, name)

    def _delete(self, request: Request, namespace: str, name: str) -> Answer:
        for process in self.processes:
            process.terminate()
        return super()._delete(request, namespace, name)


def _clean() -> dict[str, str]:
    path = f"{BIN}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": "/tmp", "OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}


@pytest.fixture
def cluster(tmp_path):
    with Nodes(folder=tmp_path) as server:
        server.kubeconfig(tmp_path / "kubeconfig")
        yield server
        for process in server.processes:
            process.kill()
            process.wait()


@dataclass
class TrainTask:
    """The task's pod: KFP's executor with the source of the component."""

    folder: Path
    dataset: Path

    def start(self, fold: int = 0, epochs: int = 2) -> subprocess.Popen:
        source = self.folder / "component.py"
        source.write_text(train.component_spec.implementation.container.command[-1])
        executor_input = json.dumps(self._executor_input(fold, epochs))
        command = ["-m", "kfp.dsl.executor_main", "--component_module_path", source]
        return subprocess.Popen(
            [
                sys.executable,
                *command,
                "--executor_input",
                executor_input,
                "--function_to_execute",
                "train",
            ],
            env={**_clean(), **self._environment()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def home(self) -> Path:
        return self.folder / "work/ranzcr"

    @property
    def tracking(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def _environment(self) -> dict[str, str]:
        nodes = settings.TrainJobSettings(nodes=2, shm=None, queue=None, timeout_seconds=600)
        return {
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "KFP_POD_NAME": "pod-a",
            "KFP_POD_UID": "uid-a",
            "RANZCR_HOME": str(self.home),
            "RANZCR_IMAGE": "example.com/ranzcr@sha256:0",
            "MLFLOW_TRACKING_URI": self.tracking,
            settings.VARIABLE: nodes.model_dump_json(),
        }

    def _executor_input(self, fold: int, epochs: int) -> dict[str, Any]:
        dataset = _artifact("system.Dataset", self.dataset)
        model = _artifact("system.Model", self.folder / "checkpoint")
        mount = {"name": "work", "mountPath": str(self.folder / "work")}
        quick = ("data.image_size=48", f"training.recipe.train.epochs={epochs}")
        values = {
            "config": config.load("smoke_a", quick).to_json(),
            "fold": str(fold),
            "dataset_digest": Dataset.open(self.dataset).digest,
            "code": "",
            "soft_digest": "",
            "devices": 1,
            "task_config": {"volumeMounts": [mount], "resources": {"limits": {"cpu": "1"}}},
        }
        return {
            "inputs": {"parameterValues": values, "artifacts": {"dataset": dataset}},
            "outputs": {
                "parameters": {"Output": {"outputFile": str(self.folder / "output")}},
                "artifacts": {"checkpoint": model},
                "outputFile": str(self.folder / "output.json"),
            },
        }


def _artifact(kind: str, path: Path) -> dict[str, Any]:
    title = {"schemaTitle": kind, "schemaVersion": "0.0.1"}
    return {"artifacts": [{"name": "a", "type": title, "uri": str(path), "metadata": {}}]}


@pytest.fixture
def task(dataset, tmp_path) -> TrainTask:
    return TrainTask(tmp_path, dataset)


def test_two_nodes_create_one_checkpoint_and_one_run(cluster, task):
    running = task.start()
    _, stderr = running.communicate(timeout=300)
    assert running.returncode == 0, stderr
    assert "smoke_a fold 0 train epoch 2/2" in stderr
    output = json.loads((task.folder / "output.json").read_text())
    digest = checkpoint.digest(task.folder / "checkpoint")
    assert output["parameterValues"]["Output"] == digest
    assert output["artifacts"]["checkpoint"]["artifacts"][0]["metadata"]["digest"] == digest
    assert not list((task.home / "trainjobs").iterdir())
    assert not list((task.home / "resume").iterdir())
    assert not cluster.jobs
    assert "epoch" not in (task.folder / "log1").read_text()  # only the first node reports
    client = MlflowClient(task.tracking)
    ids = [item.experiment_id for item in client.search_experiments()]
    (run,) = client.search_runs(ids, "tags.kind = 'fold'")
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 2


def test_restarted_nodes_continue_from_the_last_epoch(cluster, task):
    running = task.start(epochs=20)
    while not list(task.home.glob("resume/*/state.pt")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    cluster.restart()
    _, stderr = running.communicate(timeout=300)
    assert running.returncode == 0, stderr
    assert stderr.count("epoch 1/20") == stderr.count("epoch 20/20") == 1
    assert len(CheckpointMetrics.read(task.folder / "checkpoint").history) == 20


def test_an_error_that_the_user_can_fix_is_the_error_of_the_task(cluster, task):
    running = task.start(fold=7)
    _, stderr = running.communicate(timeout=300)
    assert running.returncode == 2
    assert stderr.splitlines()[-1] == "train: fold 7: the data set has folds 0 to 2"
    assert not cluster.jobs
    assert not (task.folder / "checkpoint").exists()


def test_sigterm_ends_the_nodes_too(cluster, task):
    running = task.start()
    while not cluster.lines("GET"):
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 143
    assert not cluster.jobs
    assert all(process.wait(timeout=60) for process in cluster.processes)
