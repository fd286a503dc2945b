"""A recipe's phases as rows and targets of one fold, all checked before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ranzcr.config import Experiment, Phase
from ranzcr.data.dataset import Dataset
from ranzcr.errors import ConfigError, DataError, nearest
from ranzcr.labels import UID
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
    valid_rows: np.ndarray  # rows of the fold; empty where there is nothing to validate on
    valid_targets: np.ndarray  # float32, 0 or 1


def legs(
    experiment: Experiment, dataset: Dataset, *, fold: int, soft_labels: Path | None = None
) -> list[Leg]:
    """The recipe's phases for one fold.

    Args:
        soft_labels: folder made by `ranzcr pseudo`; needed where a phase learns from soft labels.

    Raises ConfigError for a fold, a size or a teacher that is not there, and for a phase without
    rows; DataError for soft labels of another data set.
    """
    if fold not in range(dataset.folds):
        raise ConfigError(f"fold {fold}: the data set has folds 0 to {dataset.folds - 1}")
    soft_NL = None
    if experiment.needs_soft_labels:
        if soft_labels is None:
            raise ConfigError(
                f"{experiment.name}: learns from soft labels; give the folder that ranzcr pseudo made"
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
    size = phase.image_size or experiment.data.image_size
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
    others = train[dataset.table["fold"].to_numpy()[train] != fold]
    if phase.rows == "train":
        return others
    if phase.rows == "annotated":
        return others[_annotated(dataset, others)]
    if phase.rows == "external":
        return dataset.rows("external")
    return np.concatenate([others, dataset.rows("test"), dataset.rows("external")])


def _valid_rows(phase: Phase, dataset: Dataset, fold: int) -> np.ndarray:
    """The fold's rows; a phase that sees drawn lines is judged where there are lines to draw."""
    train = dataset.rows("train")
    own = train[dataset.table["fold"].to_numpy()[train] == fold]
    return own[_annotated(dataset, own)] if phase.drawn else own


def _annotated(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Whether each row has annotations, as bools."""
    return dataset.table[UID].iloc[rows].isin(dataset.annotations[UID]).to_numpy()


def _lacking(phase: Phase) -> str:
    soft = "" if phase.labels == "hard" else f" with a soft label above {phase.min_soft}"
    return {
        "train": f"the other folds have no train rows{soft}",
        "annotated": f"the other folds have no annotated rows{soft}; add train_annotations.csv",
        "soft": f"there is no row{soft}",
        "external": f"there is no external image{soft}; add external/<source>/ and run pseudo again",
    }[phase.rows]


def read_soft_labels(
    folder: Path, dataset: Dataset, *, fold: int, teachers: Sequence[str] = ()
) -> np.ndarray:
    """Soft labels that a student of `fold` may learn from: (N, L) float32, NaN where there is none.

    A train row of another fold has its out-of-fold prediction; a test or external row has the
    prediction of the teacher of the SAME fold (fold-matched, 22nd place). Teachers are averaged.

    Raises ConfigError for a missing teacher, DataError for another data set's soft labels.
    """
    table = _read_table(folder, dataset)
    known = sorted(table["teacher"].unique())
    for teacher in teachers:
        if teacher not in known:
            raise ConfigError(f"{folder}: no soft labels of teacher {teacher}; {nearest(teacher, known)}")
    names = list(dataset.schema.names)
    is_train = table["split"] == "train"
    matched = is_train.to_numpy() ^ (table["fold"] == fold).to_numpy()
    used = table[matched & table["teacher"].isin(teachers or known)]
    means = used.groupby(UID)[names].mean()
    return means.reindex(dataset.table[UID]).to_numpy(np.float32)


def _read_table(folder: Path, dataset: Dataset) -> pd.DataFrame:
    try:
        about = json.loads((Path(folder) / "soft_labels.json").read_text(encoding="utf-8"))
        table = pd.read_parquet(Path(folder) / "soft_labels.parquet")
        labels, digest = about["labels"], about["dataset_digest"]
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: missing; make it with ranzcr pseudo") from None
    except (ValueError, KeyError, OSError):
        raise DataError(f"{folder}: damaged soft labels; run ranzcr pseudo again") from None
    if digest != dataset.digest or labels != list(dataset.schema.names):
        raise DataError(
            f"{folder}: made from data set {digest[:12]}, expected {dataset.digest[:12]}; "
            "run ranzcr pseudo on this data set"
        )
    return table
