"""The whole way: KFP's executor runs the train task, whose TrainJob's nodes are processes here."""

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
from trainer_server import Look, TrainerServer

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
    """A cluster whose nodes are processes that meet on loopback, as Trainer lets them meet."""

    folder: Path = Path()
    processes: list[subprocess.Popen] = field(default_factory=list)
    restarting: bool = False

    def restart(self) -> None:
        """Lose all nodes at once and start them again, as Kubernetes does."""
        self.restarting = True
        for process in self.processes:
            for one in (*psutil.Process(process.pid).children(recursive=True), process):
                one.kill()
            process.wait()
        self._start()
        self.restarting = False

    def _make(self, request: Request, namespace: str) -> Answer:
        answer = super()._make(request, namespace)
        self._start()
        return answer

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        trainer = self.made[-1]["spec"]["trainer"]
        given = {
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(port),
            **{one["name"]: one["value"] for one in trainer["env"]},
        }
        self.processes = []
        for rank in range(trainer["numNodes"]):
            variables = {**_clean(), **given, "PET_NODE_RANK": str(rank)}
            with open(self.folder / f"log{rank}", "a") as log:
                self.processes.append(
                    subprocess.Popen(trainer["command"], stdout=log, stderr=log, env=variables)
                )

    def _job(self, request: Request, namespace: str, name: str) -> Answer:
        said = (self.folder / "log0").read_text().splitlines()
        codes = [process.poll() for process in self.processes]
        condition = None
        if None not in codes and not self.restarting:
            condition = ("Failed", "jobset failed") if any(codes) else ("Complete", "done")
        ended = {rank: (code, "Error") for rank, code in enumerate(codes) if code}
        self.looks = [Look(condition, tuple(said[self._lines :]), ended)]
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
class Task:
    """The task's pod: KFP's executor with the component's own source."""

    folder: Path
    dataset: Path

    def start(self, fold: int = 0, epochs: int = 2) -> subprocess.Popen:
        source = self.folder / "component.py"
        source.write_text(train.component_spec.implementation.container.command[-1])
        given = json.dumps(self._executor_input(fold, epochs))
        command = ["-m", "kfp.dsl.executor_main", "--component_module_path", source]
        return subprocess.Popen(
            [sys.executable, *command, "--executor_input", given, "--function_to_execute", "train"],
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
        nodes = settings.Settings(nodes=2, shm=None, queue=None, timeout_seconds=600)
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
        made = _artifact("system.Model", self.folder / "checkpoint")
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
                "artifacts": {"checkpoint": made},
                "outputFile": str(self.folder / "output.json"),
            },
        }


def _artifact(kind: str, path: Path) -> dict[str, Any]:
    title = {"schemaTitle": kind, "schemaVersion": "0.0.1"}
    return {"artifacts": [{"name": "a", "type": title, "uri": str(path), "metadata": {}}]}


@pytest.fixture
def task(dataset, tmp_path) -> Task:
    return Task(tmp_path, dataset)


def test_two_nodes_train_one_checkpoint_and_one_run(cluster, task):
    running = task.start()
    _, told = running.communicate(timeout=300)
    assert running.returncode == 0, told
    assert "smoke_a fold 0 train epoch 2/2" in told
    made = json.loads((task.folder / "output.json").read_text())
    digest = checkpoint.digest(task.folder / "checkpoint")
    assert made["parameterValues"]["Output"] == digest
    assert made["artifacts"]["checkpoint"]["artifacts"][0]["metadata"]["digest"] == digest
    assert not list((task.home / "trainjobs").iterdir())
    assert not list((task.home / "resume").iterdir())
    assert not cluster.jobs
    assert "epoch" not in (task.folder / "log1").read_text()  # the first node alone tells
    client = MlflowClient(task.tracking)
    ids = [one.experiment_id for one in client.search_experiments()]
    (run,) = client.search_runs(ids, "tags.kind = 'fold'")
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 2


def test_nodes_that_are_lost_go_on_from_the_last_epoch(cluster, task):
    running = task.start(epochs=20)
    while not list(task.home.glob("resume/*/state.pt")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    cluster.restart()
    _, told = running.communicate(timeout=300)
    assert running.returncode == 0, told
    assert told.count("epoch 1/20") == told.count("epoch 20/20") == 1
    assert len(CheckpointMetrics.read(task.folder / "checkpoint").history) == 20


def test_what_the_user_can_mend_is_the_tasks_error(cluster, task):
    running = task.start(fold=7)
    _, told = running.communicate(timeout=300)
    assert running.returncode == 2
    assert told.splitlines()[-1] == "train: fold 7: the data set has folds 0 to 2"
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
