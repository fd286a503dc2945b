"""A data set in memory: 48 train rows in 3 folds (every second annotated), 6 test, 9 external."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ranzcr.config import DataConfig, Experiment, ModelConfig, Phase, TrainingConfig
from ranzcr.data.dataset import Dataset
from ranzcr.labels import PATIENT, UID, LabelSchema
from ranzcr.soft_labels import SoftLabels

SCHEMA = LabelSchema(("ETT - Normal", "NGT - Normal", "CVC - Normal"))
COUNTS = {"train": 48, "test": 6, "external": 9}
FOLDS, SIZE = 3, 32


@pytest.fixture(scope="session")
def made_up() -> Dataset:
    """An image is bright in its upper half where its first label is 1."""
    rng = np.random.default_rng(0)
    split = np.repeat(list(COUNTS), list(COUNTS.values()))
    count = len(split)
    labels = rng.integers(0, 2, (count, len(SCHEMA)))
    images = rng.integers(0, 128, (count, SIZE, SIZE))
    images[:, : SIZE // 2] += 127 * labels[:, :1, None]
    table = pd.DataFrame({UID: [f"u{row}" for row in range(count)]})
    table[PATIENT] = table[UID]
    for column, name in enumerate(SCHEMA.names):
        table[name] = np.where(split == "train", labels[:, column], -1).astype(np.int8)
    table["fold"] = np.where(split == "train", np.arange(count) % FOLDS, -1).astype(np.int8)
    table["split"] = split
    table = table.assign(width=200, height=300)
    lines = pd.DataFrame(
        [
            (f"u{row}", SCHEMA.names[0], json.dumps([[20, 30], [150, 280]]))
            for row in range(0, 48, 2)
        ],
        columns=[UID, "label", "points"],
    )
    return Dataset(Path("made-up"), SCHEMA, table, lines, images.astype(np.uint8), "d" * 64, FOLDS)


@pytest.fixture
def soft(made_up: Dataset, tmp_path: Path) -> Path:
    """Teachers a (.25 everywhere) and b (.75); an external row of fold k says k/10 more."""
    frames = []
    for teacher, value in (("a", 0.25), ("b", 0.75)):
        for split in COUNTS:
            rows = made_up.table.iloc[made_up.rows(split)]
            for fold in range(FOLDS):
                part = rows[rows["fold"] == fold] if split == "train" else rows
                frame = pd.DataFrame({UID: part[UID], "split": split, "fold": fold})
                level = value + (fold / 10 if split == "external" else 0)
                frames.append(
                    frame.assign(teacher=teacher, **dict.fromkeys(SCHEMA.names, np.float32(level)))
                )
    table = pd.concat(frames, ignore_index=True)
    SoftLabels(table, SCHEMA, made_up.digest, ("a", "b")).write(tmp_path / "soft")
    return tmp_path / "soft"


@pytest.fixture
def tiny() -> Callable[..., Experiment]:
    """An experiment on a tiny backbone with the given phases."""

    def make(
        *recipe: Phase, model: dict | None = None, data: dict | None = None, **training: object
    ) -> Experiment:
        return Experiment(
            name="tiny",
            model=ModelConfig(**{"backbone": "test_efficientnet", **(model or {})}),
            data=DataConfig(**{"image_size": 32, "batch_size": 8, "workers": 0, **(data or {})}),
            training=TrainingConfig(recipe=recipe or (Phase(name="train", epochs=2),), **training),
        )

    return make
