"""Putting fold models' predictions together: out-of-fold for train, mean over folds elsewhere.

A predict output folder has `oof.parquet` (its fold's own rows), and `test.parquet` and
`external.parquet` where the data set has such rows. A folder of those folders is read too.
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
    """Every predictions file of one split below `paths`, by experiment.

    Args:
        paths: predict or evaluate output folders, folders of them, or out-of-fold files.
        split: "oof", "test" or "external".
        digest: the data set they must speak of.

    Raises DataError for a path without out-of-fold predictions, and as `predictions.read`. Other
    splits may be missing; a file counts as out-of-fold.
    """
    grouped: Grouped = {}
    for path in paths:
        files = _files(Path(path), split)
        if not files and split == "oof":
            raise DataError(f"{path}: no oof.parquet there; make it with ranzcr predict")
        for file in files:
            found = predictions.read(file, schema, digest)
            grouped.setdefault(found.origin.experiment, []).append(found)
    return grouped


def _files(path: Path, split: str) -> list[Path]:
    if not path.is_dir():
        return [path] if split == "oof" else []
    own = path / f"{split}.parquet"
    return [own] if own.is_file() else sorted(path.glob(f"*/{split}.parquet"))


def assemble(parts: Sequence[Predictions], uids: np.ndarray, folds: np.ndarray) -> Predictions:
    """One experiment's out-of-fold predictions for all rows, in the order of `uids`.

    Args:
        parts: one per fold, each saying its fold; or a single one for all folds.
        uids, folds: (N,) the rows and the fold that each is held out in.

    Raises DataError unless each row is predicted exactly once, by the model whose fold it is: any
    other model has trained on it.
    """
    name = parts[0].origin.experiment
    if len(parts) == 1 and not parts[0].origin.fold:
        return parts[0].aligned(uids)
    by_fold = _by_fold(parts)
    _refuse_other_folds(name, by_fold, np.unique(folds).tolist())
    values = np.empty((len(uids), len(parts[0].schema)), np.float32)
    for fold, part in by_fold.items():
        own = folds == fold
        _refuse_foreign_rows(part, uids[own])
        values[own] = part.aligned(uids[own]).values
    origin = replace(parts[0].origin, fold="")
    return Predictions(np.asarray(uids), values, parts[0].schema, origin)


def fold_mean(parts: Sequence[Predictions], uids: np.ndarray) -> Predictions:
    """The mean over fold models, in the order of `uids`. DataError where one lacks a study."""
    aligned = [part.aligned(uids).values for part in parts]
    mean = np.stack(aligned).mean(axis=0, dtype=np.float64).astype(np.float32)
    origin = replace(parts[0].origin, fold="")
    return Predictions(np.asarray(uids), mean, parts[0].schema, origin)


def content_digest(parts: Iterable[Predictions]) -> str:
    """SHA-256 of studies, labels and values: the same for the same predictions in any run."""
    sha = hashlib.sha256()
    for part in parts:
        words = [part.origin.experiment, part.origin.fold, part.origin.split, *part.schema.names]
        sha.update("\0".join([*words, *map(str, part.uids)]).encode())
        sha.update(np.ascontiguousarray(part.values, np.float32).tobytes())
    return sha.hexdigest()


def fold_of(part: Predictions) -> int:
    """The fold of one fold model's predictions. Raises DataError where they do not say it."""
    if not part.origin.fold.isdecimal():
        raise DataError(
            f"predictions of {part.origin.experiment}: no fold is noted in them; "
            "make them with ranzcr predict from one fold's model"
        )
    return int(part.origin.fold)


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


def _refuse_other_folds(name: str, found: Collection[int], expected: list[int]) -> None:
    missing = [fold for fold in expected if fold not in found]
    if missing:
        raise DataError(
            f"experiment {name}: fold {missing[0]} is missing, found "
            f"{', '.join(map(str, sorted(found)))}; train and predict it"
        )
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise DataError(
            f"experiment {name}: fold {unknown[0]} is not of this data set, which has folds "
            f"{expected[0]} to {expected[-1]}; predict with this data set's models"
        )


def _refuse_foreign_rows(part: Predictions, own_uids: np.ndarray) -> None:
    foreign = np.setdiff1d(part.uids.astype(str), own_uids.astype(str))
    if foreign.size:
        raise DataError(
            f"experiment {part.origin.experiment}: the model of fold {part.origin.fold} predicts "
            f"{foreign[0]}, which is of another fold, so it trained on it; predict its own fold"
        )
