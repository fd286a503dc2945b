"""A new data set and the champion -> the changes since the champion was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranzcr import predictions
from ranzcr.data import audit, drift
from ranzcr.data.dataset import Dataset
from ranzcr.documents import Blend, Candidate, DatasetProfile
from ranzcr.ensemble.score import summary
from ranzcr.errors import ConfigError, DataError
from ranzcr.files import hash_json, replacing, write_json
from ranzcr.predictions import Predictions
from ranzcr.stages.evaluate import truth_of
from ranzcr.tracking import context
from ranzcr.tracking.names import Metric

REPORT = "monitor.json"


@dataclass(frozen=True)
class MonitorResult:
    """The folder with monitor.json; `findings` are lines, none if nothing has changed."""

    path: Path
    digest: str
    findings: tuple[str, ...]


def run(ensemble: Path, out: Path, *, blend: Path, dataset: Path, candidate: Path) -> MonitorResult:
    """Look for leaks and for drift of labels and grey values, and score the model on new labels.

    A study that the model was trained on is scored by its out-of-fold prediction. A study of an
    unseen patient is predicted now. A new study of a patient that the model was trained on is left
    out: its score would be too good.

    Args:
        ensemble, blend, candidate: output of fetch.
        dataset: prepared at the image size of the model.

    Writes monitor.json and records it in the run of the model's ensemble. Raises DataError if the
    labels differ, ConfigError if the data set has another image size.
    """
    prepared = Dataset.open(dataset)
    blended = Blend.read(blend)
    predicted, counts = _predictions(ensemble, blend, prepared)
    scores = summary(predicted, truth_of(prepared).of(predicted.uids, where=str(dataset)))
    audited = audit.audit(prepared)
    now, then = drift.profile(prepared), blended.profile
    indexes = drift.compare(now, then) if then else {}
    report = {
        "dataset_digest": prepared.digest,
        "learned_from": blended.dataset_digest,
        "audit": audited.summary,
        "drift": indexes,
        "limit": drift.LIMIT,
        "studies": counts,
        "cv_auc": scores.cv_auc,
        "cv_auc_then": blended.cv_auc,
        "auc": scores.auc,
    }
    findings = (
        *(f"leak: {leak.check}: {leak.text}" for leak in audited.leaks),
        *(_drifted(indexes, now, then) if then else ()),
        *_scored_lower(scores.cv_auc, blended.cv_auc_lo),
    )
    run = context.run_of(Candidate.read(candidate).run_id)
    with replacing(Path(out)) as beside:
        beside.mkdir()
        write_json(beside / REPORT, {**report, "findings": findings})
    run.log_metrics({Metric.MONITOR + Metric.CV_AUC: scores.cv_auc})
    run.log_metrics({Metric.MONITOR + name: index for name, index in indexes.items()})
    run.log_artifacts(Path(out), "monitor")
    return MonitorResult(Path(out), hash_json(report), findings)


def _predictions(
    ensemble: Path, blend: Path, prepared: Dataset
) -> tuple[Predictions, dict[str, int]]:
    """Predict every train study without a leak, and count the studies of each kind."""
    out_of_fold = predictions.read(blend / "oof.parquet", prepared.schema)
    train = prepared.rows("train")
    truth = truth_of(prepared)
    seen = np.isin(truth.uids, out_of_fold.uids)
    unseen = ~np.isin(truth.groups, truth.groups[seen])
    learned = out_of_fold.aligned(truth.uids[seen])
    values = [learned.values, _predict(ensemble, prepared, train[unseen])]
    uids = np.concatenate([truth.uids[seen], truth.uids[unseen]])
    counts = {
        "out_of_fold": int(seen.sum()),
        "new": int(unseen.sum()),
        "left_out": int((~seen & ~unseen).sum()),
        "gone": int((~np.isin(out_of_fold.uids, truth.uids)).sum()),
    }
    return Predictions(uids, np.concatenate(values), prepared.schema, out_of_fold.origin), counts


def _predict(ensemble: Path, prepared: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return (n, L) probabilities of rows of the image cache."""
    from ranzcr.inference import runtime

    opened = runtime.load(ensemble)
    if opened.labels != prepared.schema.names:
        raise DataError(
            f"{prepared.path}: its labels are {', '.join(prepared.schema.names)}, the model's "
            f"{', '.join(opened.labels)}; monitor it on data with the same labels"
        )
    if opened.cache_size != prepared.image_size:
        raise ConfigError(
            f"{prepared.path}: images of {prepared.image_size} px, the model needs "
            f"{opened.cache_size}; prepare it with --size {opened.cache_size}"
        )
    return opened.predict([prepared.images[row] for row in rows])


def _drifted(indexes: dict[str, float], now: DatasetProfile, then: DatasetProfile) -> list[str]:
    findings = []
    for name, index in indexes.items():
        if index > drift.LIMIT:
            label = name.removeprefix("label/")
            change = ""
            if label in now.prevalence:
                shares = now.prevalence[label], then.prevalence[label]
                change = f": {shares[0]:.3f} positive, was {shares[1]:.3f}"
            findings.append(f"drift: {name} {index:.3f}, the limit is {drift.LIMIT}{change}")
    return findings


def _scored_lower(auc: float | None, limit: float | None) -> list[str]:
    if auc is None or limit is None or auc >= limit:
        return []
    return [f"score: AUC {auc:.4f}, below {limit:.4f}, the lower end of its interval at training"]
