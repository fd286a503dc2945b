"""Fold models' predictions -> out-of-fold evaluation of each experiment."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranzcr.data.dataset import Dataset
from ranzcr.ensemble import oof, plots
from ranzcr.ensemble.auc import macro_auc
from ranzcr.ensemble.score import Truth, summary
from ranzcr.errors import DataError
from ranzcr.files import hash_json, replacing, write_json
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
    """Put each experiment's folds together, score it and note it in its run of the journal.

    Args:
        predictions: predict output folders of all experiments and folds, or predictions files.

    Writes out/evaluation.json and out/<experiment>/ with oof.parquet, test.parquet and
    external.parquet (means over folds, where the data set has such rows) and roc.png.

    Raises DataError unless each train row is predicted once, by the model of its own fold.
    """
    prepared = Dataset.open(dataset)
    splits = {
        split: oof.read_all(predictions, split, prepared.schema, prepared.digest)
        for split in ("oof", "test", "external")
    }
    evaluation: dict[str, dict[str, Any]] = {}
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
            evaluation[name] = _evaluate(prepared, assembled, run_id, beside / name)
        write_json(beside / "evaluation.json", evaluation)
    digest = hash_json([evaluation, oof.content_digest(written)])
    return EvaluateResult(
        Path(out), digest, {name: told["cv_auc"] for name, told in evaluation.items()}
    )


def truth_of(prepared: Dataset) -> Truth:
    """The labels and patients of a data set's train rows."""
    return Truth.of_table(prepared.table.iloc[prepared.rows("train")], prepared.schema)


def _row_split(name: str) -> str:
    return "train" if name == "oof" else name


def _refuse_missing_folds(name: str, splits: dict[str, oof.Grouped]) -> None:
    """A mean over some of the folds would pass for the mean over all."""
    expected = len(splits["oof"][name])
    for split, grouped in splits.items():
        found = len(grouped.get(name, []))
        if found not in (0, expected):
            raise DataError(
                f"experiment {name}: {split}.parquet of {found} folds, oof.parquet of {expected}; "
                "predict it with the models of all folds"
            )


def _assemble(split: str, parts: list[Predictions], prepared: Dataset) -> Predictions:
    rows = prepared.table.iloc[prepared.rows(_row_split(split))]
    if split == "oof":
        return oof.assemble(parts, rows[UID].to_numpy(), rows["fold"].to_numpy())
    return oof.fold_mean(parts, rows[UID].to_numpy())


def _evaluate(
    prepared: Dataset, assembled: dict[str, Predictions], fold_run_id: str, folder: Path
) -> dict[str, Any]:
    """Score one experiment, write its folder and note both in its run."""
    truth = truth_of(prepared)
    scores = _scores(assembled["oof"], truth, _folds(prepared))
    with _single_run(fold_run_id) as run:
        for split, predicted in assembled.items():
            origin = replace(predicted.origin, run_id=run.run_id if run else "")
            replace(predicted, origin=origin).write(folder / f"{split}.parquet")
        values = assembled["oof"].values
        plots.draw_roc(folder / "roc.png", truth.targets, values, truth.schema.names)
        if run:
            run.log_metrics(as_metrics(scores))
            run.log_artifacts(folder / "oof.parquet")
            run.log_artifacts(folder / "roc.png")
    return scores


def _single_run(fold_run_id: str) -> AbstractContextManager[Run | None]:
    """The journal's run of the experiment; none for predictions that came without a run."""
    if not fold_run_id:
        return nullcontext()
    from ranzcr.tracking import context

    return context.single_run_of(fold_run_id)


def _scores(predicted: Predictions, truth: Truth, folds: np.ndarray) -> dict[str, Any]:
    told = summary(predicted, truth)
    per_fold = [
        macro_auc(truth.targets[folds == fold], predicted.values[folds == fold])
        for fold in np.unique(folds)
    ]
    has_auc = [auc for auc in per_fold if not np.isnan(auc)]
    return {
        **cv_of(told),
        "cv_auc_folds_mean": float(np.mean(has_auc)) if has_auc else None,
        "cv_auc_folds_std": float(np.std(has_auc)) if has_auc else None,
        "auc": told["auc"],
    }


def cv_of(told: dict[str, Any]) -> dict[str, float | None]:
    """cv_auc and the ends of its interval from a `summary`."""
    return {f"cv_auc{end}": told[f"macro_auc{end}"] for end in ("", "_lo", "_hi")}


def as_metrics(scores: dict[str, Any]) -> dict[str, float | None]:
    """Scores as the journal's metrics: AUCs of labels as `auc/<label>`."""
    labels = {f"auc/{label}": auc for label, auc in scores["auc"].items()}
    return {**{key: value for key, value in scores.items() if key.startswith("cv_auc")}, **labels}


def _folds(prepared: Dataset) -> np.ndarray:
    return prepared.table["fold"].to_numpy()[prepared.rows("train")]
