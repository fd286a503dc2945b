"""A real server that is killed, and a proxy that loses its answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from journal_fixtures import PASSED
from mlflow.entities import ViewType

from ranzcr import config
from ranzcr.registry import registry
from ranzcr.tracking import context, outbox, server
from ranzcr.tracking.names import Tag

RANZCR = Path(sys.executable).parent / "ranzcr"
DIGEST = "d" * 64


def fold_run(name, fold=0, digest=DIGEST):
    return context.fold_run(config.load(name), dataset_digest=digest, fold=fold, labels=["a"])


def losses(client, run_id):
    return [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")]


TRAINING = """
import sys
from ranzcr import config
from ranzcr.tracking import context
with context.fold_run(
    config.load("b7v3_001"), dataset_digest=sys.argv[1] * 8, fold=0, labels=["a"]
) as run:
    for epoch in range(300):
        if epoch in (100, 200):
            print(run.run_id, flush=True)
            sys.stdin.readline()
        run.log_epoch(epoch, {"loss": float(epoch)})
    run.log_text("weights", "weights.txt")
    if sys.argv[1] == "killed":
        print("logged", flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def training(private_server, monkeypatch):
    """Return a function that starts a training; it waits before epochs 100 and 200 of 300."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", private_server.uri)
    processes = []

    def start(end):
        process = subprocess.Popen(
            [sys.executable, "-c", TRAINING, end],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def train_without_server(process, server):
    """Kill the server before epoch 100, then let the training finish; return its run id."""
    run_id = process.stdout.readline().strip()
    server.kill()
    resume(process)
    process.stdout.readline()
    resume(process)
    return run_id


def resume(process):
    process.stdin.write("\n")
    process.stdin.flush()


def flush():
    result = subprocess.run([RANZCR, "journal", "flush"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_training_whose_server_is_killed_loses_nothing(private_server, training):
    process = training("ended")
    run_id = train_without_server(process, private_server)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "wait in" in errors
    private_server.start()
    assert "sent " in flush()
    client = server.connect()
    assert losses(client, run_id) == [(epoch, float(epoch)) for epoch in range(300)]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run_id)] == ["weights.txt"]
    assert flush() == "sent 0 entries\n"


def test_a_training_killed_while_its_server_is_dead_loses_nothing(private_server, training):
    process = training("killed")
    run_id = train_without_server(process, private_server)
    assert process.stdout.readline() == "logged\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    private_server.start()
    assert run_id in flush()
    client = server.connect()
    assert losses(client, run_id) == [(epoch, float(epoch)) for epoch in range(300)]
    assert client.get_run(run_id).info.status == "KILLED"


def test_a_server_killed_in_the_middle_of_a_batch_has_each_value_once(
    private_server, monkeypatch, capfd
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", private_server.uri)
    monkeypatch.setattr(outbox, "_GRACE", 0)
    with fold_run("kdb3v3_b71_001") as run:
        for epoch in range(20_000):
            run.log_epoch(epoch, {"loss": float(epoch)})
        client = server.connect()
        end = time.monotonic() + 60
        while not losses(client, run.run_id):  # the thread has begun to send
            assert time.monotonic() < end
        private_server.kill()
    assert "wait in" in capfd.readouterr().err
    private_server.start()
    outbox.recover(client)
    assert losses(client, run.run_id) == [(epoch, float(epoch)) for epoch in range(20_000)]


def test_a_run_is_created_once_though_the_answer_is_lost(lossy_proxy):
    lossy_proxy.lose("/runs/create", "/runs/log-batch", "/runs/update")
    with fold_run("smoke_a", digest="e" * 64) as run:
        run.log_epoch(0, {"loss": 1.0})
        key = server.connect().get_run(run.run_id).data.tags[Tag.RUN_KEY]
    assert sorted(lossy_proxy.lost) == ["/runs/create", "/runs/log-batch", "/runs/update"]
    client = server.connect()
    runs = client.search_runs(
        [server.experiment_id(client)], f"tags.{Tag.RUN_KEY} = '{key}'", run_view_type=ViewType.ALL
    )
    assert [it.info.run_id for it in runs] == [run.run_id]
    assert losses(client, run.run_id) == [(0, 1.0)]


def test_a_model_version_is_created_once_though_the_answer_is_lost(
    lossy_proxy, ensemble_folder, blend_folder
):
    lossy_proxy.lose("/registered-models/create", "/model-versions/create")
    with context.ensemble_run(
        {"tiny": 1.0}, dataset_digest=DIGEST, method="weights", digest="b" * 64
    ) as run:
        pass
    registry.register(ensemble_folder, blend_folder, run.run_id, PASSED)
    assert sorted(lossy_proxy.lost) == ["/model-versions/create", "/registered-models/create"]
    client = server.connect()
    assert len(client.search_model_versions(f"name = '{registry.CANDIDATES}'")) == 1
