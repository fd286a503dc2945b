"""A recipe's phases as rows and targets of one fold, all checked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranzcr.config import Experiment, Phase
from ranzcr.data.dataset import Dataset
from ranzcr.errors import ConfigError, DataError
from ranzcr.labels import UID
from ranzcr.soft_labels import SoftLabels
from ranzcr.training.losses import sharpen

# Shape suffixes in this file: N rows of the data set's table, R rows of a phase, L labels.


@dataclass(frozen=True)
class Leg:
    """One phase for one fold: which rows of the data set, and what they should be."""

    phase: Phase
    index: int  # of the phase in its recipe
    image_size: int
    rows_R: np.ndarray  # positions in the data set's table; none of the fold's own
    targets_RL: np.ndarray  # float32, 0 to 1
    valid_rows: np.ndarray  # rows of the fold; empty if there is nothing to validate on
    valid_targets: np.ndarray  # float32, 0 or 1


def legs(
    experiment: Experiment, dataset: Dataset, *, fold: int, soft_labels: Path | None = None
) -> list[Leg]:
    """The recipe's phases for one fold.

    Args:
        soft_labels: folder made by `ranzcr pseudo`; needed where a phase learns from soft labels.

    Raises ConfigError for a fold or a size that is not there and for a phase without rows;
    DataError for soft labels of another data set or without a teacher.
    """
    if fold not in range(dataset.folds):
        raise ConfigError(f"fold {fold}: the data set has folds 0 to {dataset.folds - 1}")
    soft_NL = None
    if experiment.needs_soft_labels:
        if soft_labels is None:
            raise ConfigError(
                f"{experiment.name}: learns from soft labels; give the folder that ranzcr pseudo "
                "made"
            )
        soft_NL = read_soft_labels(soft_labels, dataset, fold=fold, teachers=experiment.teachers)
    return [
        _leg(experiment, phase, index, dataset, fold, soft_NL)
        for index, phase in enumerate(experiment.training.recipe)
    ]


def _leg(
    experiment: Experiment,
    phase: Phase,
    index: int,
    dataset: Dataset,
    fold: int,
    soft_NL: np.ndarray | None,
) -> Leg:
    size = experiment.size_of(phase)
    if size > dataset.image_size:
        raise ConfigError(
            f"{experiment.name}: phase {phase.name} wants {size} px, the data set has "
            f"{dataset.image_size}; prepare it with --size {size} or set a smaller image_size"
        )
    rows_R = _candidates(phase, dataset, fold)
    if phase.labels == "soft":
        assert soft_NL is not None  # Experiment.needs_soft_labels
        known = ~np.isnan(soft_NL[rows_R, 0])
        rows_R = rows_R[known & (np.nan_to_num(soft_NL[rows_R]).max(axis=1) > phase.min_soft)]
        targets_RL = soft_NL[rows_R]
        if phase.sharpen is not None:
            targets_RL = sharpen(targets_RL, phase.sharpen)
    else:
        targets_RL = dataset.targets(rows_R)
    if not len(rows_R):
        raise ConfigError(f"{experiment.name}: phase {phase.name} has no rows: {_lacking(phase)}")
    valid_rows = _valid_rows(phase, dataset, fold)
    return Leg(phase, index, size, rows_R, targets_RL, valid_rows, dataset.targets(valid_rows))


def _candidates(phase: Phase, dataset: Dataset, fold: int) -> np.ndarray:
    """The rows a phase may learn from, whether or not they have soft labels."""
    train = dataset.rows("train")
    others: np.ndarray = train[dataset.table["fold"].to_numpy()[train] != fold]
    if phase.rows == "train":
        return others
    if phase.rows == "annotated":
        return np.asarray(others[_annotated(dataset, others)])
    if phase.rows == "external":
        return dataset.rows("external")
    return np.concatenate([others, dataset.rows("test"), dataset.rows("external")])


def _valid_rows(phase: Phase, dataset: Dataset, fold: int) -> np.ndarray:
    """Return the fold's rows; for a phase that sees drawn lines, those with annotations."""
    train = dataset.rows("train")
    held_out: np.ndarray = train[dataset.table["fold"].to_numpy()[train] == fold]
    return held_out[_annotated(dataset, held_out)] if phase.drawn else held_out


def _annotated(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return whether each row has annotations, as bools."""
    return dataset.table[UID].iloc[rows].isin(dataset.annotations[UID]).to_numpy()


def _lacking(phase: Phase) -> str:
    soft = "" if phase.labels == "hard" else f" with a soft label above {phase.min_soft}"
    return {
        "train": f"the other folds have no train rows{soft}",
        "annotated": f"the other folds have no annotated rows{soft}; add train_annotations.csv",
        "soft": f"there is no row{soft}",
        "external": f"there is no external image{soft}; add external/<source>/, then run pseudo",
    }[phase.rows]


def read_soft_labels(
    folder: Path, dataset: Dataset, *, fold: int, teachers: Sequence[str] = ()
) -> np.ndarray:
    """Return the soft labels for a student of `fold`: (N, L) float32, NaN if a row has none.

    Raises DataError for soft labels of another data set or without one of the teachers.
    """
    soft = SoftLabels.open(folder)
    if soft.dataset_digest != dataset.digest or soft.schema != dataset.schema:
        raise DataError(
            f"{folder}: made from data set {soft.dataset_digest[:12]}, expected "
            f"{dataset.digest[:12]}; run ranzcr pseudo on this data set"
        )
    allowed = soft.for_fold(fold, tuple(teachers)).set_index(UID)
    names = list(dataset.schema.names)
    return allowed[names].reindex(dataset.table[UID]).to_numpy(np.float32)
