"""`ranzcr journal show` on a journal of 5,000 runs: whole commands, each a process of its own.

python benchmarks/journal.py [runs]

A single run has 55 params, 20 metrics and 12 tags; every tenth has five fold runs beneath it. The
local journal is SQLite; the server is `mlflow server` with its 4 workers on the same file.
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
from ranzcr.labels import COMPETITION
from ranzcr.tracking import server, settings

BIN = Path(sys.executable).parent
FORMATS = ("table", "md", "csv", "html", "xlsx")
_FOLDS = 5
_CLIENT = """
from mlflow import MlflowClient
client = MlflowClient()
place = client.get_experiment_by_name("ranzcr-clip").experiment_id
token, found = None, []
while True:
    page = client.search_runs([place], "tags.kind != 'fold'", max_results=5000, page_token=token)
    found += page
    token = page.token
    if not token:
        break
print(len(found))
"""


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as folder:
        home = {"RANZCR_HOME": folder}
        os.environ.update(home)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        fill(runs)
        measure("SQLite", {"MLFLOW_TRACKING_URI": server.tracking_uri()}, Path(folder), 3)
        with serving(Path(folder)) as uri:
            measure("server", {"MLFLOW_TRACKING_URI": uri}, Path(folder), 1)


def measure(where: str, environment: dict[str, str], folder: Path, repeats: int) -> None:
    """Print the seconds of each format, against MLflow's client that only fetches the runs."""
    plain, cpu = seconds([sys.executable, "-c", _CLIENT], environment, repeats)
    print(f"{where}: MlflowClient.search_runs alone {plain:.2f} s, CPU {cpu:.2f} s", flush=True)
    for form in FORMATS:
        command = ["ranzcr", "journal", "show", "--format", form, "-o", f"{folder}/journal.{form}"]
        took, cpu = seconds([str(BIN / command[0]), *command[1:]], environment, repeats)
        told = f"{took:.2f} s, CPU {cpu:.2f} s, {plain / took:.1f} x as fast"
        print(f"{where}: {form:5} {told}", flush=True)


def seconds(command: list[str], environment: dict[str, str], repeats: int) -> tuple[float, float]:
    """The least of `repeats` by the clock and of the CPU, the start of the process included."""
    clock, cpu = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), _cpu()
        subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
        clock.append(time.perf_counter() - start)
        cpu.append(_cpu() - used)
    return min(clock), min(cpu)


def _cpu() -> float:
    """Seconds that the processes which have ended took; tells more where others work, too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`mlflow server` on the journal in `folder`, as it comes but for its job workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # the server starts `python -m uvicorn`
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PATH": path}
    process = subprocess.Popen(
        command,
        env={**os.environ, **quiet},
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
        os.killpg(process.pid, signal.SIGTERM)  # its workers, too
        process.wait()


def _healthy(uri: str) -> bool:
    try:
        return urllib.request.urlopen(f"{uri}/health", timeout=1).status == 200
    except OSError:
        return False


def fill(count: int) -> None:
    """A journal of `count` rows with their fold runs, by MLflow's own tables."""
    place = int(server.experiment_id(server.connect()))
    rng = random.Random(0)
    tables: dict[type, list[dict]] = {SqlRun: [], SqlTag: [], SqlParam: [], SqlLatestMetric: []}
    known = {name: settings.of_experiment(config.load(name)) for name in config.names()}
    for index in range(count):
        if index % 6 == 0:
            tags, params = ensemble(rng.sample(list(known), 3))
        else:
            parent = rng.choice(list(known))
            name = f"{parent[:9]}_{index:05}"
            tags, params = single(name, parent, known[parent], rng)
            known[name] = params
        run_id = add(tables, place, index, tags, params, scores(rng))
        for fold in range(_FOLDS if tags["kind"] == "single" and index % 10 == 1 else 0):
            own = {**tags, "kind": "fold", "fold": str(fold), "mlflow.parentRunId": run_id}
            add(tables, place, index, own, params, scores(rng))
    engine = sqlalchemy.create_engine(server.tracking_uri())
    with engine.begin() as connection:
        for table, rows in tables.items():
            connection.execute(sqlalchemy.insert(table), rows)
    engine.dispose()


def single(
    name: str, parent: str, inherited: dict[str, str], rng: random.Random
) -> tuple[dict[str, str], dict[str, str]]:
    """Tags and params of an experiment that changes up to three settings of its parent."""
    params = inherited | {
        "cfg.name": name,
        "cfg.model.head": rng.choice(["gap", "gem", "concat", "attention"]),
        "cfg.data.image_size": str(rng.choice([512, 640, 768, 1024])),
        "cfg.model.dropout": str(rng.choice([0.0, 0.2, 0.5])),
    }
    own = {"experiment": name, "parent": parent, "folds": str(_FOLDS), "teachers": parent}
    return {**common("single"), **own, "mlflow.note.content": f"{name}, one of many"}, params


def ensemble(members: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Tags and params of a blend."""
    weights = {name: 1 / len(members) for name in members}
    own = {"experiment": "+".join(members), "members": ",".join(members), "method": "weights"}
    return {**common("ensemble"), **own, "weights": json.dumps(weights)}, {"cfg.method": "weights"}


def common(kind: str) -> dict[str, str]:
    shared = {"author": "ada", "git_commit": "a" * 40, "code": "b" * 16, "stage": "evaluate"}
    return {"kind": kind, "dataset_digest": "d" * 64, "run_key": uuid.uuid4().hex, **shared}


def scores(rng: random.Random) -> dict[str, float]:
    cv = rng.uniform(0.9, 0.97)
    interval = {"cv_auc": cv, "cv_auc_lo": cv - 0.005, "cv_auc_hi": cv + 0.005}
    labels = {f"auc/{label}": rng.uniform(0.8, 1) for label in COMPETITION.names}
    board = {"lb_public": cv + 0.002, "lb_private": cv + 0.003, "gpu_hours": rng.uniform(1, 40)}
    return {**interval, **labels, **board, "cv_auc_folds_mean": cv, "cv_auc_folds_std": 0.002}


def add(
    tables: dict[type, list[dict]],
    place: int,
    index: int,
    tags: dict[str, str],
    params: dict[str, str],
    metrics: dict[str, float],
) -> str:
    """Add one run to the rows that will be inserted; its id."""
    run_id = uuid.uuid4().hex
    started = 1_700_000_000_000 + index * 60_000  # milliseconds
    told = {"run_uuid": run_id, "name": tags["experiment"], "experiment_id": place}
    times = {"start_time": started, "end_time": started + 50_000}
    artifacts = {"artifact_uri": f"file:///artifacts/{run_id}", "user_id": "ada"}
    state = {"status": "FINISHED", "lifecycle_stage": "active", "source_type": "LOCAL"}
    tables[SqlRun].append({**told, **times, **artifacts, **state})
    pairs = {SqlTag: {**tags, "mlflow.runName": tags["experiment"]}, SqlParam: params}
    for table, values in pairs.items():
        for key, value in values.items():
            tables[table].append({"run_uuid": run_id, "key": key, "value": value})
    noted = {"timestamp": started, "step": 0, "is_nan": False, "run_uuid": run_id}
    tables[SqlLatestMetric] += [{"key": k, "value": v, **noted} for k, v in metrics.items()]
    return run_id


if __name__ == "__main__":
    main()
