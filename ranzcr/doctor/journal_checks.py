"""Runs, metrics, search, saved views, artifacts: what the journal needs of an MLflow."""

from __future__ import annotations

import hashlib
import json
import secrets
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun

from ranzcr.checkup import Checks, Visit, require
from ranzcr.tracking import runs, server

CHECKS = check = Checks()

_PARAM = 6000  # characters
_VIEW = 5000  # characters of a saved view
_BLOCK = 1_000_000  # bytes
_BEGIN = 1_600_000_000_000  # milliseconds: long ago, as of what an outbox sends later
_FOLDER = "labels/ETT - Abnormal"

_RUN = ("a run by its key",)


@check(
    "a run by its key",
    "point the server at the primary database: a replica shows a new run too late",
    needs=("our credentials", "experiment"),
)
def by_key(visit: Visit) -> str:
    key = runs.make_key(visit.word)

    def find() -> MlflowRun | None:
        found = visit.client.search_runs([visit.place], f"tags.{runs.KEY} = '{key}'")
        require(len(found) < 2, "was made twice")
        return found[0] if found else None

    tags = {runs.KEY: key, "kind": "single"}
    made = server.create_once(
        find, lambda: visit.client.create_run(visit.place, run_name=visit.word, tags=tags)
    )
    visit.run_id = made.info.run_id
    again = find()
    require(again is not None, "was made, and is not found")
    return "is found as soon as it is made"


@check("1,000 metrics at once", "raise the limit on the body of a request", needs=_RUN)
def thousand(visit: Visit) -> str:
    start = time.monotonic()
    visit.client.log_batch(visit.run_id, metrics=_curve(), synchronous=True)
    took = time.monotonic() - start
    count = len(visit.client.get_metric_history(visit.run_id, "curve"))
    require(count == len(_curve()), f"{count} of {len(_curve())} arrived")
    return f"arrive, in {took:.1f} s"


@check(
    "the same metrics again",
    "use a server whose database refuses equal rows: SQLite, PostgreSQL or MySQL",
    needs=("1,000 metrics at once",),
)
def replay(visit: Visit) -> str:
    visit.client.log_batch(visit.run_id, metrics=_curve(), synchronous=True)
    found = visit.client.get_metric_history(visit.run_id, "curve")
    require(len(found) == len(_curve()), f"are stored again: {len(found)} values")
    times = {metric.timestamp for metric in found}
    require(times == {m.timestamp for m in _curve()}, "got another time than they had")
    return "change nothing"


def _curve() -> list[Metric]:
    return [Metric("curve", step / 1000, _BEGIN + step, step) for step in range(1000)]


@check("long params and tags", "upgrade the server", needs=_RUN)
def long_values(visit: Visit) -> str:
    param, tag = "p" * _PARAM, "t" * runs.TAG
    visit.client.log_batch(
        visit.run_id, params=[Param("long", param)], tags=[RunTag("long", tag)], synchronous=True
    )
    data = visit.client.get_run(visit.run_id).data
    require(data.params["long"] == param, f"a param is cut to {len(data.params['long'])}")
    require(data.tags["long"] == tag, f"a tag is cut to {len(data.tags['long'])}")
    return f"are kept: {_PARAM} and {runs.TAG} characters"


@check("metrics of an ended run", "upgrade the server", needs=_RUN)
def ended_run(visit: Visit) -> str:
    visit.client.set_terminated(visit.run_id, "FINISHED")
    late = Metric("late", 1.0, _BEGIN, 0)
    visit.client.log_batch(visit.run_id, metrics=[late], synchronous=True)
    run = visit.client.get_run(visit.run_id)
    require(run.data.metrics.get("late") == 1.0, "are lost")
    require(run.info.status == "FINISHED", f"reopen it as {run.info.status}")
    return "are taken, as after an outage"


@check("search", "upgrade the server", needs=_RUN)
def search(visit: Visit) -> str:
    tags = {runs.PARENT: visit.run_id, "kind": "fold"}
    child = visit.client.create_run(visit.place, run_name="child", tags=tags).info.run_id
    # The older one is better: by default a search puts the newest first.
    visit.client.log_metric(visit.run_id, "cv_auc", 0.9)
    visit.client.log_metric(child, "cv_auc", 0.8)
    expected = {
        "tags.kind = 'single'": [visit.run_id],
        f"tags.`{runs.PARENT}` = '{visit.run_id}'": [child],
        "attributes.status = 'RUNNING'": [child],
        f"attributes.run_id IN ('{child}')": [child],
        "": [visit.run_id, child],
    }
    for asked, wanted in expected.items():
        found = visit.client.search_runs([visit.place], asked, order_by=["metrics.cv_auc DESC"])
        require([run.info.run_id for run in found] == wanted, f"finds the wrong runs by {asked}")
    return f"finds and sorts runs in {len(expected)} ways"


@check(
    "one data set noted at once",
    "upgrade the server: folds that start together must not fail",
    needs=_RUN,
)
def noted_at_once(visit: Visit) -> str:
    made = [visit.client.create_run(visit.place, run_name=f"fold {n}") for n in range(2)]
    dataset = Dataset("ranzcr", visit.word, "code", json.dumps({"uri": "unknown"}))

    def note(run: MlflowRun) -> None:
        visit.client.log_inputs(run.info.run_id, [DatasetInput(dataset, [])])

    def try_note(run: MlflowRun) -> bool:
        try:
            note(run)
        except Exception:  # whatever the loser of the race is told
            return False
        return True

    with ThreadPoolExecutor(2) as together:
        done = list(together.map(try_note, made))
    for run, was_noted in zip(made, done, strict=True):
        if not was_noted:
            note(run)
        inputs = visit.client.get_run(run.info.run_id).inputs
        count = len(inputs.dataset_inputs) if inputs else 0
        require(count == 1, f"a run has {count} of it")
    return "arrives in both runs" + ("" if all(done) else ", in one at the second try")


@check("saved views", "upgrade the server", needs=_RUN)
def saved_views(visit: Visit) -> str:
    state = {"name": "doctor", "state": f"deflate;{secrets.token_hex(_VIEW // 2)}"}
    told = json.dumps(state)
    name = f"mlflow.sharedViewState.{visit.word}"
    visit.client.set_experiment_tag(visit.place, name, told)
    kept = visit.client.get_experiment(visit.place).tags[name]
    require(kept == told, f"are cut to {len(kept)} characters")
    return f"are kept: {len(told)} characters"


@check(
    "artifact there and back",
    "start it with --serve-artifacts and a writable --artifacts-destination; in a proxy in front "
    "raise the limit on the body (nginx: client_max_body_size 0) and the timeouts",
    needs=_RUN,
)
def artifact(visit: Visit) -> str:
    with tempfile.TemporaryDirectory(prefix=visit.word) as folder:
        sent = Path(folder) / "artifact.bin"
        digest = _write_random(sent, visit.artifact_mb)
        start = time.monotonic()
        visit.client.log_artifact(visit.run_id, str(sent))
        up = time.monotonic() - start
        sent.unlink()
        start = time.monotonic()
        fetched = visit.client.download_artifacts(visit.run_id, sent.name, folder)
        down = time.monotonic() - start
        with open(fetched, "rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == digest
    require(same, "comes back changed")
    speeds = f"{visit.artifact_mb / up:.0f} MB/s up, {visit.artifact_mb / down:.0f} down"
    return f"{visit.artifact_mb} MB unchanged: {speeds}"


def _write_random(path: Path, megabytes: int) -> str:
    """The SHA-256 of what was written."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for block in _random_blocks(megabytes):
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


def _random_blocks(megabytes: int) -> Iterator[bytes]:
    block = secrets.token_bytes(_BLOCK)
    for number in range(megabytes):
        yield number.to_bytes(4) + block[4:]


@check(
    "artifacts in folders",
    "let the proxy in front pass encoded characters in paths (%20) as they are",
    needs=("artifact there and back",),
)
def folders(visit: Visit) -> str:
    names = [f"{_FOLDER}/{name}" for name in ("a b.txt", "c+d.txt", "e&f.txt")]
    for name in names:
        visit.client.log_text(visit.run_id, name, name)
    listed = [each.path for each in visit.client.list_artifacts(visit.run_id, _FOLDER)]
    require(sorted(listed) == names, f"are listed as {', '.join(listed) or 'nothing'}")
    with tempfile.TemporaryDirectory(prefix=visit.word) as target:
        fetched = Path(visit.client.download_artifacts(visit.run_id, _FOLDER, target))
        texts = sorted(path.read_text(encoding="utf-8") for path in fetched.iterdir())
    require(texts == names, "come back changed")
    return "keep their names"
