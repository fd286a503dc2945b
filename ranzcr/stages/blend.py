"""Evaluated experiments -> their weighted mean, scored on rows that its weights did not see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ranzcr import predictions as predictions_file
from ranzcr.data import drift
from ranzcr.data.dataset import Dataset
from ranzcr.data.folds import assign_folds
from ranzcr.documents import Blend, Scores
from ranzcr.ensemble import blend, oof, plots
from ranzcr.ensemble.score import Truth, summary
from ranzcr.errors import DataError
from ranzcr.files import hash_json, replacing
from ranzcr.labels import UID
from ranzcr.predictions import Origin, Predictions
from ranzcr.stages.evaluate import truth_of

_FOLDS = 5  # for predictions that come without a data set's folds


@dataclass(frozen=True)
class BlendResult:
    """The blend folder and its cross-fitted macro AUC; None if no label has both classes."""

    path: Path
    digest: str
    cv_auc: float | None


@dataclass(frozen=True)
class Blended:
    """A blend and its scores."""

    weights: dict[str, float]  # from all rows: those to use on new images
    predicted: Predictions  # out-of-fold, cross-fitted
    scores: Scores
    members: dict[str, Scores]
    runs: dict[str, str | None]  # of MLflow, of each member


def run(
    predictions: Sequence[Path], dataset: Path, out: Path, *, method: str = "weights"
) -> BlendResult:
    """Blend experiments on their out-of-fold predictions and record it in the journal.

    Args:
        predictions: evaluate output folders, or out-of-fold predictions files.
        method: see `ranzcr.ensemble.blend`.

    Writes blend.json (with the data set's profile, with which `monitor` compares), oof.parquet
    (cross-fitted), test.parquet (if the members have test predictions) and members.png.
    """
    prepared = Dataset.open(dataset)
    train = prepared.table.iloc[prepared.rows("train")]
    truth = truth_of(prepared)
    parts = oof.read_all(predictions, "oof", prepared.schema, prepared.digest)
    members = {
        name: oof.assemble(folds, truth.uids, train["fold"].to_numpy())
        for name, folds in parts.items()
    }
    blended = _blend(method, members, truth, train["fold"].to_numpy(), prepared.digest)
    test = _blend_test(predictions, prepared, blended)
    description = Blend(
        **dict(blended.scores),
        method=method,
        weights=blended.weights,
        members=tuple(blended.weights),
        member_cv={name: scores.cv_auc for name, scores in blended.members.items()},
        dataset_digest=prepared.digest,
        digest="",
        profile=drift.profile(prepared),
    )
    content = oof.content_digest([blended.predicted, *([test] if test else [])])
    decided = description.model_dump(mode="json", exclude={"digest", "profile", "run_id"})
    description = description.model_copy(update={"digest": hash_json([decided, content])})
    _write(Path(out), description, blended, test)
    return BlendResult(Path(out), description.digest, description.cv_auc)


def blend_files(
    files: Sequence[Path], train_csv: Path, out: Path, method: str = "weights"
) -> Blended:
    """Blend plain predictions files of the same labelled studies; `out` gets the blend.

    The written blend is cross-fitted over new folds of patients, so that `out` can be scored on
    the same labels. The result has the weights for new images.

    Raises DataError if the files' studies differ or one has no labels.
    """
    table = Truth.read(train_csv)
    parts = [predictions_file.read(file, table.schema) for file in files]
    members: dict[str, Predictions] = {}
    for file, member in zip(files, parts, strict=True):
        name = member.origin.experiment
        if name in members:
            raise DataError(f"{file}: a second file of {name}; give each experiment once")
        if len(member.uids) != len(parts[0].uids):
            raise DataError(
                f"{file}: {len(member.uids)} studies, {files[0]} has {len(parts[0].uids)}; blend "
                "predictions of the same studies"
            )
        members[name] = member.aligned(parts[0].uids)
    truth = table.of(parts[0].uids, where=str(files[0]))
    folds = assign_folds(truth.targets, truth.groups, _FOLDS, seed=0)
    blended = _blend(method, members, truth, folds)
    blended.predicted.write(out)
    return blended


def _blend(
    method: str,
    members: dict[str, Predictions],
    truth: Truth,
    folds: np.ndarray,
    dataset_digest: str | None = None,
) -> Blended:
    values = {name: member.values for name, member in members.items()}
    weights = blend.find(method, values, truth.targets)
    blended, _ = blend.cross_fitted(method, values, truth.targets, folds)
    origin = Origin(
        experiment="+".join(members), dataset_digest=dataset_digest, members=tuple(members)
    )
    predicted = Predictions(truth.uids, blended, truth.schema, origin)
    scores = {name: summary(member, truth) for name, member in members.items()}
    runs = {name: member.origin.run_id for name, member in members.items()}
    return Blended(weights, predicted, summary(predicted, truth), scores, runs)


def _blend_test(
    predictions: Sequence[Path], prepared: Dataset, blended: Blended
) -> Predictions | None:
    """Blend the members' test predictions with the final weights; None if there are none."""
    parts = oof.read_all(predictions, "test", prepared.schema, prepared.digest)
    uids = prepared.table[UID].to_numpy()[prepared.rows("test")]
    if not (parts and len(uids)):
        return None
    missing = [name for name in blended.weights if name not in parts]
    if missing:
        raise DataError(
            f"experiment {missing[0]}: no test.parquet, which other members have; predict test too"
        )
    members = {name: oof.fold_mean(parts[name], uids).values for name in blended.weights}
    origin = replace(blended.predicted.origin, split="test")
    return Predictions(uids, blend.combine(members, blended.weights), prepared.schema, origin)


def _write(out: Path, description: Blend, blended: Blended, test: Predictions | None) -> None:
    """Write the blend folder and record it in its run."""
    from ranzcr.tracking import context

    with (
        replacing(out) as beside,
        context.ensemble_run(
            description.weights,
            dataset_digest=description.dataset_digest,
            method=description.method,
            digest=description.digest,
            member_runs=[run_id or "" for run_id in blended.runs.values()],
        ) as run,
    ):
        beside.mkdir()
        for name, part in (("oof", blended.predicted), ("test", test)):
            if part is not None:
                origin = replace(part.origin, run_id=run.run_id)
                replace(part, origin=origin).write(beside / f"{name}.parquet")
        description.model_copy(update={"run_id": run.run_id}).write(beside)
        bars = {**blended.members, "blend": blended.scores}
        plots.draw_members(beside / "members.png", {name: _bar(bars[name]) for name in bars})
        run.log_scores(description)
        run.log_artifacts(beside, "blend")


def _bar(scores: Scores) -> tuple[float, float, float]:
    auc, lo, hi = (
        math.nan if value is None else value
        for value in (scores.cv_auc, scores.cv_auc_lo, scores.cv_auc_hi)
    )
    return auc, lo, hi
