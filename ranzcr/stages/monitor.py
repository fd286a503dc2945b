"""A data set of today and the model in use -> what has changed between them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ranzcr import predictions
from ranzcr.data import audit, drift
from ranzcr.data.dataset import Dataset
from ranzcr.ensemble.score import summary
from ranzcr.errors import ConfigError, DataError
from ranzcr.files import hash_json, replacing, write_json
from ranzcr.predictions import Predictions
from ranzcr.stages.evaluate import truth_of

REPORT = "monitor.json"


@dataclass(frozen=True)
class MonitorResult:
    """The folder with monitor.json; `findings` are lines, none where all is as it was."""

    path: Path
    digest: str
    findings: tuple[str, ...]


def run(ensemble: Path, out: Path, *, blend: Path, dataset: Path, candidate: Path) -> MonitorResult:
    """Look for leaks, for drift of labels and grey values, and score the model on today's labels.

    A study that the model has learned from is scored by its out-of-fold prediction. One of a
    patient whom the model has not seen is predicted now. What is new of a patient whom it has seen
    is left out: it would flatter the model.

    Args:
        ensemble, blend, candidate: what fetch wrote.
        dataset: prepared at the size that the model wants.

    Writes monitor.json and notes it in the run of the model's ensemble. Raises DataError where
    the three are of other labels, ConfigError where the data set has another image size.
    """
    prepared = Dataset.open(dataset)
    told = json.loads((blend / "blend.json").read_text(encoding="utf-8"))
    predicted, counts = _predictions(ensemble, blend, prepared)
    scores = summary(predicted, truth_of(prepared).of(predicted.uids, where=str(dataset)))
    audited = audit.audit(prepared)
    now = drift.profile(prepared)
    moved = drift.compare(now, told["profile"]) if "profile" in told else {}
    report = {
        "dataset_digest": prepared.digest,
        "learned_from": told["dataset_digest"],
        "audit": audited.summary,
        "drift": moved,
        "limit": drift.LIMIT,
        "studies": counts,
        "cv_auc": scores["macro_auc"],
        "cv_auc_then": told["cv_auc"],
        "auc": scores["auc"],
    }
    findings = (
        *(f"leak: {leak.check}: {leak.text}" for leak in audited.leaks),
        *_drifted(moved, now, told.get("profile", {})),
        *_scored_lower(scores["macro_auc"], told["cv_auc_lo"]),
    )
    _write(Path(out), {**report, "findings": findings}, candidate)
    return MonitorResult(Path(out), hash_json(report), findings)


def _predictions(
    ensemble: Path, blend: Path, prepared: Dataset
) -> tuple[Predictions, dict[str, int]]:
    """Honest predictions of as many train studies as there are, and how many of which kind."""
    known = predictions.read(blend / "oof.parquet", prepared.schema)
    train = prepared.rows("train")
    truth = truth_of(prepared)
    seen = np.isin(truth.uids, known.uids)
    strangers = ~np.isin(truth.groups, truth.groups[seen])
    learned = known.aligned(truth.uids[seen])
    values = [learned.values, _predict(ensemble, prepared, train[strangers])]
    uids = np.concatenate([truth.uids[seen], truth.uids[strangers]])
    counts = {
        "out_of_fold": int(seen.sum()),
        "new": int(strangers.sum()),
        "left_out": int((~seen & ~strangers).sum()),
        "gone": int((~np.isin(known.uids, truth.uids)).sum()),
    }
    return Predictions(uids, np.concatenate(values), prepared.schema, known.origin), counts


def _predict(ensemble: Path, prepared: Dataset, rows: np.ndarray) -> np.ndarray:
    """(n, L) probabilities of rows of the image cache."""
    from ranzcr.inference import runtime

    opened = runtime.load(ensemble)
    if opened.labels != prepared.schema.names:
        raise DataError(
            f"{prepared.path}: its labels are {', '.join(prepared.schema.names)}, the model's "
            f"{', '.join(opened.labels)}; monitor it on data of its own labels"
        )
    if opened.cache_size != prepared.image_size:
        raise ConfigError(
            f"{prepared.path}: images of {prepared.image_size} px, the model wants "
            f"{opened.cache_size}; prepare it with --size {opened.cache_size}"
        )
    return opened.predict([prepared.images[row] for row in rows])


def _drifted(moved: dict[str, float], now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    found = []
    for what, index in moved.items():
        if index > drift.LIMIT:
            label = what.removeprefix("label/")
            shares = [told["prevalence"].get(label) for told in (now, then)]
            change = "" if None in shares else f": {shares[0]:.3f} positive, was {shares[1]:.3f}"
            found.append(f"drift: {what} {index:.3f}, the limit is {drift.LIMIT}{change}")
    return found


def _scored_lower(auc: float | None, least: float | None) -> list[str]:
    if auc is None or least is None or auc >= least:
        return []
    return [f"score: AUC {auc:.4f}, below the {least:.4f} that its interval began at"]


def _write(out: Path, report: dict[str, Any], candidate: Path) -> None:
    """Write the report, and note it as today's point of the model's curves."""
    from ranzcr.tracking import runs, server

    with replacing(out) as beside:
        beside.mkdir()
        write_json(beside / REPORT, report)
    run_id = json.loads(candidate.read_text(encoding="utf-8"))["run_id"]
    run = runs.Run(server.connect(), run_id)
    drifts = {f"monitor/{what}": index for what, index in report["drift"].items()}
    run.log_metrics({"monitor/cv_auc": report["cv_auc"], **drifts})
    run.log_artifacts(out, "monitor")
