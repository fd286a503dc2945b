"""A blend folder of a data set, written by hand, with its run in the journal."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ranzcr.data import drift
from ranzcr.data.dataset import Dataset
from ranzcr.documents import Blend
from ranzcr.labels import UID
from ranzcr.predictions import Origin, Predictions


def write_blend(folder: Path, dataset: Path) -> Path:
    """Write a blend of one experiment whose out-of-fold predictions are mostly right."""
    from ranzcr.tracking import context

    prepared = Dataset.open(dataset)
    rows = prepared.rows("train")
    noise = np.random.default_rng(0).random((len(rows), len(prepared.schema)))
    values = (0.9 * prepared.targets(rows) + 0.1 * noise).astype(np.float32)
    origin = Origin(experiment="tiny", dataset_digest=prepared.digest, members=("tiny",))
    uids = prepared.table[UID].to_numpy()[rows]
    Predictions(uids, values, prepared.schema, origin).write(folder / "oof.parquet")
    decided = {"method": "weights", "digest": "b" * 64, "dataset_digest": prepared.digest}
    with context.ensemble_run({"tiny": 1.0}, **decided) as run:
        Blend(
            **{**decided, "weights": {"tiny": 1.0}, "members": ("tiny",), "run_id": run.run_id},
            **{"cv_auc": 1.0, "cv_auc_lo": 0.9, "cv_auc_hi": 1.0},
            profile=drift.profile(prepared),
        ).write(folder)
    return folder
