"""Fold models' predictions -> out-of-fold evaluation of each experiment."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranzcr.data.dataset import Dataset
from ranzcr.documents import Evaluation, ExperimentScores
from ranzcr.ensemble import oof, plots
from ranzcr.ensemble.auc import macro_auc
from ranzcr.ensemble.score import Truth, summary
from ranzcr.errors import DataError
from ranzcr.files import hash_json, replacing
from ranzcr.labels import UID
from ranzcr.predictions import Predictions
from ranzcr.progress import track

if TYPE_CHECKING:
    from ranzcr.tracking.runs import Run


@dataclass(frozen=True)
class EvaluateResult:
    """`path` has evaluation.json and a folder per experiment; `cv` is macro AUC by experiment."""

    path: Path
    digest: str
    cv: dict[str, float | None]


def run(predictions: Sequence[Path], dataset: Path, out: Path) -> EvaluateResult:
    """Assemble each experiment's folds, score them and record the scores in the journal.

    Args:
        predictions: predict output folders of all experiments and folds, or predictions files.

    Writes out/evaluation.json and out/<experiment>/ with oof.parquet, test.parquet and
    external.parquet (means over folds, if the data set has such rows) and roc.png.

    Raises DataError unless each train row is predicted once, by the model of its own fold.
    """
    prepared = Dataset.open(dataset, verify=False)
    splits = {
        split: oof.read_all(predictions, split, prepared.schema, prepared.digest)
        for split in ("oof", "test", "external")
    }
    scores: dict[str, ExperimentScores] = {}
    written: list[Predictions] = []
    with replacing(out) as beside:
        beside.mkdir()
        for name in track(splits["oof"], "Evaluating experiments"):
            _refuse_missing_folds(name, splits)
            assembled = {
                split: _assemble(split, grouped[name], prepared)
                for split, grouped in splits.items()
                if name in grouped and len(prepared.rows(_row_split(split)))
            }
            written += assembled.values()
            run_id = splits["oof"][name][0].origin.run_id
            scores[name] = _evaluate(prepared, assembled, run_id, beside / name)
        evaluation = Evaluation(scores)
        evaluation.write(beside)
    digest = hash_json([evaluation.to_json(), oof.content_digest(written)])
    return EvaluateResult(Path(out), digest, {name: score.cv_auc for name, score in scores.items()})


def truth_of(prepared: Dataset) -> Truth:
    """Return the labels and patients of a data set's train rows."""
    return Truth.of_table(prepared.table.iloc[prepared.rows("train")], prepared.schema)


def _row_split(name: str) -> str:
    return "train" if name == "oof" else name


def _refuse_missing_folds(name: str, splits: dict[str, oof.Grouped]) -> None:
    """Refuse a mean over some of the folds, which would pass for the mean over all."""
    expected = len(splits["oof"][name])
    for split, grouped in splits.items():
        folds = len(grouped.get(name, []))
        if folds not in (0, expected):
            raise DataError(
                f"experiment {name}: {split}.parquet of {folds} folds, oof.parquet of {expected}; "
                "predict it with the models of all folds"
            )


def _assemble(split: str, parts: list[Predictions], prepared: Dataset) -> Predictions:
    rows = prepared.table.iloc[prepared.rows(_row_split(split))]
    if split == "oof":
        return oof.assemble(parts, rows[UID].to_numpy(), rows["fold"].to_numpy())
    return oof.fold_mean(parts, rows[UID].to_numpy())


def _evaluate(
    prepared: Dataset, assembled: dict[str, Predictions], fold_run_id: str | None, folder: Path
) -> ExperimentScores:
    """Score one experiment, write its folder and record both in its run."""
    truth = truth_of(prepared)
    folds = prepared.table["fold"].to_numpy()[prepared.rows("train")]
    scores = _scores(assembled["oof"], truth, folds)
    with _single_run(fold_run_id) as run:
        for split, predicted in assembled.items():
            origin = replace(predicted.origin, run_id=run.run_id if run else None)
            replace(predicted, origin=origin).write(folder / f"{split}.parquet")
        values = assembled["oof"].values
        plots.draw_roc(folder / "roc.png", truth.targets, values, truth.schema.names)
        if run:
            run.log_scores(scores)
            run.log_artifacts(folder / "oof.parquet")
            run.log_artifacts(folder / "roc.png")
    return scores


def _single_run(fold_run_id: str | None) -> AbstractContextManager[Run | None]:
    """Open the experiment's run in the journal; none for predictions that came without a run."""
    if fold_run_id is None:
        return nullcontext()
    from ranzcr.tracking import context

    return context.single_run_of(fold_run_id)


def _scores(predicted: Predictions, truth: Truth, folds: np.ndarray) -> ExperimentScores:
    per_fold = [
        macro_auc(truth.targets[folds == fold], predicted.values[folds == fold])
        for fold in np.unique(folds)
    ]
    defined = [auc for auc in per_fold if not np.isnan(auc)]
    return ExperimentScores(
        **dict(summary(predicted, truth)),
        cv_auc_folds_mean=np.mean(defined) if defined else None,
        cv_auc_folds_std=np.std(defined) if defined else None,
    )
