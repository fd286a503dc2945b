"""Fold models' predictions -> soft labels for a second stage, without a leak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ranzcr.data.dataset import SPLITS, Dataset
from ranzcr.documents import SoftLabelsDescription
from ranzcr.ensemble import oof
from ranzcr.errors import ConfigError, DataError, nearest
from ranzcr.labels import UID
from ranzcr.predictions import Predictions
from ranzcr.soft_labels import SoftLabels
from ranzcr.tracking import context


@dataclass(frozen=True)
class PseudoResult:
    """The soft labels at `path`; `counts` is the number of studies with one, by split."""

    path: Path
    digest: str
    counts: dict[str, int]


def run(
    predictions: Sequence[Path], dataset: Path, out: Path, *, teachers: Sequence[str] = ()
) -> PseudoResult:
    """Write the soft labels folder and record it in the journal.

    A train row gets the prediction of the model that did not train on it; a test or external row
    gets one per fold, so that a student of fold k learns only from models that were not trained
    on the rows of fold k.

    Args:
        predictions: predict output folders of the teachers, all folds.
        teachers: these experiments only; empty takes all.

    Raises DataError if a fold is missing, or if a train row was predicted by the model of another
    fold, which has trained on it.
    """
    prepared = Dataset.open(dataset, verify=False)
    splits = {
        split: oof.read_all(
            predictions, "oof" if split == "train" else split, prepared.schema, prepared.digest
        )
        for split in SPLITS
    }
    teachers = _choose(teachers, list(splits["train"]))
    tables = [
        _rows(teacher, split, splits[split].get(teacher, []), prepared)
        for teacher in teachers
        for split in SPLITS
        if len(prepared.rows(split))
    ]
    table = pd.concat(tables, ignore_index=True)
    soft = SoftLabels(table, prepared.schema, prepared.digest, tuple(teachers)).write(out)
    counts = soft.counts()
    teacher_runs = [splits["train"][teacher][0].origin.run_id or "" for teacher in teachers]
    with context.pseudo_run(
        teachers=soft.teachers,
        dataset_digest=soft.dataset_digest,
        digest=soft.digest,
        counts=counts,
        teacher_runs=teacher_runs,
    ) as run:
        run.log_artifacts(Path(out) / SoftLabelsDescription.FILE)
    return PseudoResult(Path(out), soft.digest, counts)


def _choose(wanted: Sequence[str], present: list[str]) -> list[str]:
    for teacher in wanted:
        if teacher not in present:
            raise ConfigError(f"no predictions of teacher {teacher}; {nearest(teacher, present)}")
    return list(wanted) or present


def _rows(teacher: str, split: str, parts: list[Predictions], prepared: Dataset) -> pd.DataFrame:
    """Return the soft labels of one teacher for one split."""
    rows = prepared.table.iloc[prepared.rows(split)]
    uids, folds = rows[UID].to_numpy(), rows["fold"].to_numpy()
    if split == "train":
        for part in parts:
            oof.fold_of(part)  # predictions of an unknown fold may leak
        return _frame(oof.assemble(parts, uids, folds), folds, split, teacher)
    by_fold = {oof.fold_of(part): part.aligned(uids) for part in parts}
    missing = sorted(set(range(prepared.folds)) - set(by_fold))
    if missing:
        raise DataError(
            f"teacher {teacher}: no {split}.parquet of fold {missing[0]}; predict it with that "
            "fold's model"
        )
    frames = [
        _frame(part, np.full(len(uids), fold), split, teacher)
        for fold, part in sorted(by_fold.items())
    ]
    return pd.concat(frames)


def _frame(part: Predictions, folds: np.ndarray, split: str, teacher: str) -> pd.DataFrame:
    frame = part.frame()
    frame.insert(1, "split", split)
    frame.insert(2, "fold", folds.astype(np.int8))
    frame.insert(3, "teacher", teacher)
    return frame
