"""Combine the predictions of fold models: out-of-fold for train rows, else the mean over folds.

A predict output folder has `oof.parquet` (its fold's own rows), and `test.parquet` and
`external.parquet` if the data set has such rows. A folder of those folders is read too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ranzcr import predictions
from ranzcr.errors import DataError
from ranzcr.labels import LabelSchema
from ranzcr.predictions import Predictions

Grouped = dict[str, list[Predictions]]  # experiment -> its predictions, in the order given


def read_all(paths: Sequence[Path], split: str, schema: LabelSchema, digest: str) -> Grouped:
    """Read every predictions file of one split below `paths`, by experiment.

    Args:
        paths: predict or evaluate output folders, folders of them, or out-of-fold files.
        split: "oof", "test" or "external".
        digest: the data set they must be made from.

    A file counts as out-of-fold. Other splits than "oof" may be missing. Raises DataError for a
    path without out-of-fold predictions, and as `predictions.read`.
    """
    grouped: Grouped = {}
    for path in paths:
        files = _files(Path(path), split)
        if not files and split == "oof":
            raise DataError(f"{path}: no oof.parquet there; make it with ranzcr predict")
        for file in files:
            part = predictions.read(file, schema, digest)
            grouped.setdefault(part.origin.experiment, []).append(part)
    return grouped


def _files(path: Path, split: str) -> list[Path]:
    if not path.is_dir():
        return [path] if split == "oof" else []
    file = path / f"{split}.parquet"
    return [file] if file.is_file() else sorted(path.glob(f"*/{split}.parquet"))


def assemble(parts: Sequence[Predictions], uids: np.ndarray, folds: np.ndarray) -> Predictions:
    """Return the out-of-fold predictions of one experiment for all rows, in the order of `uids`.

    Args:
        parts: one per fold, each with its fold; or a single one for all folds.
        uids, folds: (N,) the rows, and the fold in which each is held out.

    Raises DataError unless each row is predicted exactly once, by the model of its own fold: any
    other model has trained on it.
    """
    name = parts[0].origin.experiment
    if len(parts) == 1 and parts[0].origin.fold is None:
        return parts[0].aligned(uids)
    by_fold = _by_fold(parts)
    _refuse_other_folds(name, by_fold, np.unique(folds).tolist())
    values = np.empty((len(uids), len(parts[0].schema)), np.float32)
    for fold, part in by_fold.items():
        held_out = folds == fold
        _refuse_foreign_rows(part, uids[held_out])
        values[held_out] = part.aligned(uids[held_out]).values
    origin = replace(parts[0].origin, fold=None)
    return Predictions(np.asarray(uids), values, parts[0].schema, origin)


def fold_mean(parts: Sequence[Predictions], uids: np.ndarray) -> Predictions:
    """Return the mean over fold models in the order of `uids`.

    Raises DataError if a model has not predicted a study.
    """
    aligned = [part.aligned(uids).values for part in parts]
    mean = np.stack(aligned).mean(axis=0, dtype=np.float64).astype(np.float32)
    origin = replace(parts[0].origin, fold=None)
    return Predictions(np.asarray(uids), mean, parts[0].schema, origin)


def content_digest(parts: Iterable[Predictions]) -> str:
    """Return the SHA-256 of studies, labels and values, which does not depend on the run."""
    sha = hashlib.sha256()
    for part in parts:
        origin = part.origin
        fold = "" if origin.fold is None else str(origin.fold)
        words = [origin.experiment, fold, origin.split, *part.schema.names]
        sha.update("\0".join([*words, *map(str, part.uids)]).encode())
        sha.update(np.ascontiguousarray(part.values, np.float32).tobytes())
    return sha.hexdigest()


def fold_of(part: Predictions) -> int:
    """Return the fold of one fold model's predictions. Raises DataError if it is not recorded."""
    if part.origin.fold is None:
        raise DataError(
            f"predictions of {part.origin.experiment}: their fold is not recorded; "
            "make them with ranzcr predict from one fold's model"
        )
    return part.origin.fold


def _by_fold(parts: Sequence[Predictions]) -> dict[int, Predictions]:
    by_fold: dict[int, Predictions] = {}
    for part in parts:
        fold = fold_of(part)
        if fold in by_fold:
            raise DataError(
                f"experiment {part.origin.experiment}: fold {fold} is given twice; give it once"
            )
        by_fold[fold] = part
    return by_fold


def _refuse_other_folds(name: str, folds: Collection[int], expected: list[int]) -> None:
    missing = [fold for fold in expected if fold not in folds]
    if missing:
        raise DataError(
            f"experiment {name}: fold {missing[0]} is missing, found "
            f"{', '.join(map(str, sorted(folds)))}; train and predict it"
        )
    unknown = sorted(set(folds) - set(expected))
    if unknown:
        raise DataError(
            f"experiment {name}: fold {unknown[0]} is not of this data set, which has folds "
            f"{expected[0]} to {expected[-1]}; predict with this data set's models"
        )


def _refuse_foreign_rows(part: Predictions, held_out: np.ndarray) -> None:
    foreign = np.setdiff1d(part.uids.astype(str), held_out.astype(str))
    if foreign.size:
        raise DataError(
            f"experiment {part.origin.experiment}: the model of fold {part.origin.fold} predicts "
            f"{foreign[0]}, a row of another fold, on which it was trained; predict its own fold"
        )
