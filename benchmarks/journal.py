"""Time `ranzcr journal show` on a journal of 5,000 runs; each command is a new process.

python benchmarks/journal.py [runs]

A single run has 55 params, 20 metrics and 12 tags; every tenth run has five fold runs. The local
journal is SQLite; the server is `mlflow server` with its 4 workers on the same file.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun, SqlTag

from ranzcr import config
from ranzcr.competitions import PHANTOM_LABELS
from ranzcr.tracking import params as params_of_runs
from ranzcr.tracking import place, server
from ranzcr.tracking.names import Kind, Tag

BIN = Path(sys.executable).parent
FORMATS = ("table", "md", "csv", "html", "xlsx")
_FOLDS = 5
_CLIENT = """
from mlflow import MlflowClient
client = MlflowClient()
experiment = client.get_experiment_by_name("ranzcr-clip").experiment_id
token, runs, wanted = None, [], "tags.kind != 'fold'"
while True:
    page = client.search_runs([experiment], wanted, max_results=5000, page_token=token)
    runs += page
    token = page.token
    if not token:
        break
print(len(runs))
"""


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RANZCR_HOME"] = folder
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        fill(runs)
        measure("SQLite", place.tracking_uri(), Path(folder), repeats=3)
        with serving(Path(folder)) as uri:
            measure("server", uri, Path(folder), repeats=1)


def measure(name: str, uri: str, folder: Path, repeats: int) -> None:
    """Print the seconds of each format and of MLflow's client, which only fetches the runs."""
    client, cpu = seconds([sys.executable, "-c", _CLIENT], uri, repeats)
    print(f"{name}: MlflowClient.search_runs alone {client:.2f} s, CPU {cpu:.2f} s", flush=True)
    for form in FORMATS:
        arguments = ["journal", "show", "--format", form, "-o", f"{folder}/journal.{form}"]
        clock, cpu = seconds([str(BIN / "ranzcr"), *arguments], uri, repeats)
        result = f"{clock:.2f} s, CPU {cpu:.2f} s, {client / clock:.1f} x as fast"
        print(f"{name}: {form:5} {result}", flush=True)


def seconds(command: list[str], uri: str, repeats: int) -> tuple[float, float]:
    """The shortest of `repeats` by the clock and by CPU time, with the start of the process."""
    clock, cpu = [], []
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), _cpu()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        clock.append(time.perf_counter() - start)
        cpu.append(_cpu() - start_cpu)
    return min(clock), min(cpu)


def _cpu() -> float:
    """CPU seconds of finished child processes; less disturbed by other work than the clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run `mlflow server` on the journal in `folder`, with default settings but no job workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # the server starts `python -m uvicorn`
    options = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PATH": path}
    process = subprocess.Popen(
        command,
        env={**os.environ, **options},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        uri = f"http://127.0.0.1:{port}"
        while not _healthy(uri):
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # and its workers
        process.wait()


def _healthy(uri: str) -> bool:
    try:
        return urllib.request.urlopen(f"{uri}/health", timeout=1).status == 200
    except OSError:
        return False


def fill(count: int) -> None:
    """Write a journal of `count` rows and their fold runs directly to MLflow's tables."""
    experiment_id = int(server.experiment_id(server.connect()))
    rng = random.Random(0)
    tables: dict[type, list[dict]] = {SqlRun: [], SqlTag: [], SqlParam: [], SqlLatestMetric: []}
    params_of = {name: params_of_runs.of_experiment(config.load(name)) for name in config.names()}
    for index in range(count):
        if index % 6 == 0:
            tags, params = ensemble(rng.sample(list(params_of), 3))
        else:
            parent = rng.choice(list(params_of))
            name = f"{parent[:9]}_{index:05}"
            tags, params = single(name, parent, params_of[parent], rng)
            params_of[name] = params
        run_id = add(tables, experiment_id, index, tags, params, scores(rng))
        for fold in range(_FOLDS if tags[Tag.KIND] == Kind.SINGLE and index % 10 == 1 else 0):
            fold_tags = {**tags, Tag.KIND: Kind.FOLD, Tag.FOLD: str(fold), Tag.PARENT_RUN: run_id}
            add(tables, experiment_id, index, fold_tags, params, scores(rng))
    engine = sqlalchemy.create_engine(server.tracking_uri())
    with engine.begin() as connection:
        for table, rows in tables.items():
            connection.execute(sqlalchemy.insert(table), rows)
    engine.dispose()


def single(
    name: str, parent: str, inherited: dict[str, str], rng: random.Random
) -> tuple[dict[str, str], dict[str, str]]:
    """Return tags and params of an experiment that changes up to three settings of its parent."""
    params = inherited | {
        "cfg.name": name,
        "cfg.model.head": rng.choice(["gap", "gem", "concat", "attention"]),
        "cfg.data.image_size": str(rng.choice([512, 640, 768, 1024])),
        "cfg.model.dropout": str(rng.choice([0.0, 0.2, 0.5])),
    }
    tags = {"experiment": name, "parent": parent, "folds": str(_FOLDS), "teachers": parent}
    return {**common(Kind.SINGLE), **tags, Tag.NOTE: f"{name}, one of many"}, params


def ensemble(members: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return tags and params of a blend."""
    weights = {name: 1 / len(members) for name in members}
    tags = {"experiment": "+".join(members), "members": ",".join(members), "method": "weights"}
    return {**common(Kind.ENSEMBLE), **tags, "weights": json.dumps(weights)}, {
        "cfg.method": "weights"
    }


def common(kind: str) -> dict[str, str]:
    shared = {"author": "ada", "git_commit": "a" * 40, "code": "b" * 16, "stage": "evaluate"}
    return {"kind": kind, "dataset_digest": "d" * 64, "run_key": uuid.uuid4().hex, **shared}


def scores(rng: random.Random) -> dict[str, float]:
    cv = rng.uniform(0.9, 0.97)
    interval = {"cv_auc": cv, "cv_auc_lo": cv - 0.005, "cv_auc_hi": cv + 0.005}
    labels = {f"auc/{label}": rng.uniform(0.8, 1) for label in PHANTOM_LABELS.names}
    board = {"lb_public": cv + 0.002, "lb_private": cv + 0.003, "gpu_hours": rng.uniform(1, 40)}
    return {**interval, **labels, **board, "cv_auc_folds_mean": cv, "cv_auc_folds_std": 0.002}


def add(
    tables: dict[type, list[dict]],
    experiment_id: int,
    index: int,
    tags: dict[str, str],
    params: dict[str, str],
    metrics: dict[str, float],
) -> str:
    """Add one run to the rows that will be inserted; return its id."""
    run_id = uuid.uuid4().hex
    started = 1_700_000_000_000 + index * 60_000  # milliseconds
    run = {"run_uuid": run_id, "name": tags["experiment"], "experiment_id": experiment_id}
    times = {"start_time": started, "end_time": started + 50_000}
    artifacts = {"artifact_uri": f"file:///artifacts/{run_id}", "user_id": "ada"}
    state = {"status": "FINISHED", "lifecycle_stage": "active", "source_type": "LOCAL"}
    tables[SqlRun].append({**run, **times, **artifacts, **state})
    pairs = {SqlTag: {**tags, "mlflow.runName": tags["experiment"]}, SqlParam: params}
    for table, values in pairs.items():
        for key, value in values.items():
            tables[table].append({"run_uuid": run_id, "key": key, "value": value})
    metric = {"timestamp": started, "step": 0, "is_nan": False, "run_uuid": run_id}
    tables[SqlLatestMetric] += [{"key": k, "value": v, **metric} for k, v in metrics.items()]
    return run_id


if __name__ == "__main__":
    main()
