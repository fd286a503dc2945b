"""Evaluated experiments -> one weighted mean of them, scored on rows its weights did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ranzcr import predictions as predictions_file
from ranzcr.data import drift
from ranzcr.data.dataset import Dataset
from ranzcr.data.folds import assign_folds
from ranzcr.ensemble import blend, oof, plots
from ranzcr.ensemble.score import Truth, summary
from ranzcr.errors import DataError
from ranzcr.files import hash_json, replacing, write_json
from ranzcr.labels import UID
from ranzcr.predictions import Origin, Predictions
from ranzcr.stages.evaluate import as_metrics, cv_of, truth_of

_FOLDS = 5  # for predictions that come without a data set's folds


@dataclass(frozen=True)
class BlendResult:
    """The blend folder and its honest macro AUC; None where no label has both classes."""

    path: Path
    digest: str
    cv_auc: float | None


@dataclass(frozen=True)
class Found:
    """A blend and what was found about it."""

    weights: dict[str, float]  # found on all rows: those to use on new images
    predicted: Predictions  # out-of-fold, cross-fitted
    scores: dict[str, Any]  # `summary` of `predicted`
    members: dict[str, dict[str, Any]]  # `summary` of each member
    runs: dict[str, str]  # of MLflow, of each member; "" for files that name none


def run(
    predictions: Sequence[Path],
    dataset: Path,
    out: Path,
    *,
    method: str = "weights",
) -> BlendResult:
    """Blend experiments on their out-of-fold predictions and note it in the journal.

    Args:
        predictions: evaluate output folders, or out-of-fold predictions files.
        method: see `ranzcr.ensemble.blend`.

    Writes blend.json (with the data set's profile, which `monitor` compares with), oof.parquet
    (cross-fitted), test.parquet (where the members have test predictions) and members.png.
    """
    prepared = Dataset.open(dataset)
    train = prepared.table.iloc[prepared.rows("train")]
    truth = truth_of(prepared)
    parts = oof.read_all(predictions, "oof", prepared.schema, prepared.digest)
    members = {
        member: oof.assemble(found, truth.uids, train["fold"].to_numpy())
        for member, found in parts.items()
    }
    found = _find(method, members, truth, train["fold"].to_numpy(), prepared.digest)
    test = _blend_test(predictions, prepared, found)
    described = _describe(found, test, method)
    _write(Path(out), found, test, {**described, "profile": drift.profile(prepared)})
    return BlendResult(Path(out), described["digest"], described["cv_auc"])


def blend_files(
    files: Sequence[Path], train_csv: Path, out: Path, method: str = "weights"
) -> Found:
    """Blend plain predictions files of the same labelled studies; `out` gets the blend.

    What is written is cross-fitted over folds of patients made for this, so that scoring `out`
    against the same labels is honest; the weights for new images are in what is returned.

    Raises DataError where the files' studies differ or one has no labels.
    """
    table = Truth.read(train_csv)
    read = [predictions_file.read(file, table.schema) for file in files]
    members: dict[str, Predictions] = {}
    for file, member in zip(files, read, strict=True):
        name = member.origin.experiment
        if name in members:
            raise DataError(f"{file}: a second file of {name}; give each experiment once")
        if len(member.uids) != len(read[0].uids):
            raise DataError(
                f"{file}: {len(member.uids)} studies, {files[0]} has {len(read[0].uids)}; blend "
                "predictions of the same studies"
            )
        members[name] = member.aligned(read[0].uids)
    truth = table.of(read[0].uids, where=str(files[0]))
    folds = assign_folds(truth.targets, truth.groups, _FOLDS, seed=0)
    found = _find(method, members, truth, folds)
    found.predicted.write(out)
    return found


def _find(
    method: str,
    members: dict[str, Predictions],
    truth: Truth,
    folds: np.ndarray,
    dataset_digest: str = "",
) -> Found:
    values = {name: member.values for name, member in members.items()}
    weights = blend.find(method, values, truth.targets)
    blended, _ = blend.cross_fitted(method, values, truth.targets, folds)
    origin = Origin(
        experiment="+".join(members), dataset_digest=dataset_digest, members=tuple(members)
    )
    predicted = Predictions(truth.uids, blended, truth.schema, origin)
    told = {name: summary(member, truth) for name, member in members.items()}
    runs = {name: member.origin.run_id for name, member in members.items()}
    return Found(weights, predicted, summary(predicted, truth), told, runs)


def _blend_test(predictions: Sequence[Path], prepared: Dataset, found: Found) -> Predictions | None:
    """The members' test predictions under the final weights; None where there are none."""
    parts = oof.read_all(predictions, "test", prepared.schema, prepared.digest)
    uids = prepared.table[UID].to_numpy()[prepared.rows("test")]
    if not (parts and len(uids)):
        return None
    missing = [name for name in found.weights if name not in parts]
    if missing:
        raise DataError(
            f"experiment {missing[0]}: no test.parquet, which other members have; predict test too"
        )
    members = {name: oof.fold_mean(parts[name], uids).values for name in found.weights}
    origin = replace(found.predicted.origin, split="test")
    return Predictions(uids, blend.combine(members, found.weights), prepared.schema, origin)


def _describe(found: Found, test: Predictions | None, method: str) -> dict[str, Any]:
    """blend.json but for the run."""
    content = oof.content_digest([found.predicted, *([test] if test else [])])
    described = {
        "method": method,
        "weights": found.weights,
        "members": list(found.weights),
        **cv_of(found.scores),
        "member_cv": {name: told["macro_auc"] for name, told in found.members.items()},
        "auc": found.scores["auc"],
        "dataset_digest": found.predicted.origin.dataset_digest,
    }
    return {**described, "digest": hash_json([described, content])}


def _write(out: Path, found: Found, test: Predictions | None, described: dict[str, Any]) -> None:
    """Write the blend folder and note it in its run."""
    from ranzcr.tracking import context

    with (
        replacing(out) as beside,
        context.ensemble_run(
            found.weights,
            dataset_digest=described["dataset_digest"],
            method=described["method"],
            digest=described["digest"],
            member_runs=list(found.runs.values()),
        ) as run,
    ):
        beside.mkdir()
        for part in (found.predicted, test):
            if part is not None:
                file = "oof.parquet" if part is found.predicted else "test.parquet"
                noted = replace(part, origin=replace(part.origin, run_id=run.run_id))
                noted.write(beside / file)
        write_json(beside / "blend.json", {**described, "run_id": run.run_id})
        bars = {**found.members, "blend": found.scores}
        plots.draw_members(beside / "members.png", {k: _bar(told) for k, told in bars.items()})
        run.log_metrics(as_metrics(described))
        run.log_artifacts(beside, "blend")


def _bar(told: dict[str, Any]) -> tuple[float, float, float]:
    auc, lo, hi = (
        float("nan") if told[key] is None else told[key]
        for key in ("macro_auc", "macro_auc_lo", "macro_auc_hi")
    )
    return auc, lo, hi
