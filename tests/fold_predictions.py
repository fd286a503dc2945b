"""Predict output folders, as the fold models of an experiment would write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ranzcr.data.dataset import Dataset
from ranzcr.labels import UID
from ranzcr.predictions import Origin, Predictions


def write_folds(
    root: Path,
    dataset: Path,
    experiment: str,
    *,
    skill: float,
    run_ids: dict[int, str] | None = None,
    seed: int = 0,
) -> list[Path]:
    """One folder per fold with oof.parquet and test.parquet; the higher `skill`, the higher AUC."""
    prepared = Dataset.open(dataset)
    folders = []
    for fold in range(prepared.folds):
        rng = np.random.default_rng([seed, fold])
        folder = root / f"{experiment}-{fold}"
        own = prepared.rows("train")[prepared.table["fold"].iloc[prepared.rows("train")] == fold]
        for name, rows in (("oof", own), ("test", prepared.rows("test"))):
            targets = np.maximum(prepared.targets(rows), 0)
            logit = skill * targets + rng.normal(size=targets.shape) - 1
            origin = Origin(
                experiment=experiment,
                fold=fold,
                split="train" if name == "oof" else name,
                dataset_digest=prepared.digest,
                run_id=(run_ids or {}).get(fold),
            )
            Predictions(
                prepared.table[UID].to_numpy()[rows],
                (1 / (1 + np.exp(-logit))).astype(np.float32),
                prepared.schema,
                origin,
            ).write(folder / f"{name}.parquet")
        folders.append(folder)
    return folders
