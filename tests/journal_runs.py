"""Writes runs into a journal: by the run context, or as an importer writes rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from ranzcr import config
from ranzcr.journal import rows
from ranzcr.journal.columns import SHOWN
from ranzcr.journal.journal_run import JournalRun
from ranzcr.tracking import context, server

DIGEST = "d" * 64


def single(name, cv, lo=None, hi=None, digest=DIGEST):
    """Log a trained fold of a packaged experiment and the score of its row; return the row's id."""
    experiment = config.load(name)
    with context.fold_run(experiment, dataset_digest=digest, fold=0, labels=["A"]) as fold:
        pass
    with context.single_run_of(fold.run_id) as run:
        run.log_metrics({"cv_auc": cv, "cv_auc_lo": lo, "cv_auc_hi": hi})
    return run.run_id


def pseudo(teacher="b7v3_001"):
    with context.pseudo_run(
        teachers=[teacher], counts={"train": 3}, dataset_digest=DIGEST, digest="x"
    ) as run:
        return run.run_id


def ensemble(weights: Mapping[str, float], cv):
    with context.ensemble_run(weights, method="weights", dataset_digest=DIGEST, digest="x") as run:
        run.log_metrics({"cv_auc": cv})
        return run.run_id


def row(
    client: MlflowClient,
    started: int,
    *,
    name: str,
    kind: str = "single",
    status: str = "FINISHED",
    tags: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    size: int | None = None,
) -> str:
    """Write a row with the given values only; `started` is in milliseconds. Returns its run id."""
    experiment_id = server.experiment_id(client)
    all_tags = {"kind": kind, **(tags or {})}
    run = client.create_run(experiment_id, start_time=started, tags=all_tags, run_name=name)
    run_id = run.info.run_id
    all_params = {**(params or {}), **({"cfg.data.image_size": str(size)} if size else {})}
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, started, 0) for key, value in (metrics or {}).items()],
        params=[Param(key, value) for key, value in all_params.items()],
        tags=[RunTag("experiment", name)],
    )
    if status != "RUNNING":
        client.set_terminated(run_id, status, started + 1000)
    return run_id


def frame(**options) -> pd.DataFrame:
    """Return rows of the journal as a table; the options are those of `rows.select`."""
    names = [column.name for column in SHOWN]
    table = pd.DataFrame(rows.select(**options).rows, columns=names)
    return table.astype({column.name: float for column in SHOWN if column.place == "metrics"})


def comparable(runs: Iterable[JournalRun]) -> list[tuple]:
    """Return runs as plain values, with NaN as text, because NaN differs from itself."""
    return [
        (
            *(run.run_id, run.name, run.status, run.started, run.ended),
            *(dict(run.tags), dict(run.params)),
            {key: "nan" if math.isnan(value) else value for key, value in run.metrics.items()},
        )
        for run in runs
    ]
