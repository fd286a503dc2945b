"""What register and promote need: a blend of the tiny data set."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ranzcr.data.dataset import Dataset
from ranzcr.labels import UID
from ranzcr.predictions import Origin, Predictions


@pytest.fixture
def blend(blend_folder, dataset):
    """A blend of the tiny data set whose predictions are mostly right."""
    prepared = Dataset.open(dataset)
    rows = prepared.rows("train")
    noise = np.random.default_rng(0).random((len(rows), len(prepared.schema)))
    values = (0.9 * prepared.targets(rows) + 0.1 * noise).astype(np.float32)
    origin = Origin(experiment="tiny", dataset_digest=prepared.digest, members=("tiny",))
    uids = prepared.table[UID].to_numpy()[rows]
    Predictions(uids, values, prepared.schema, origin).write(blend_folder / "oof.parquet")
    told = json.loads((blend_folder / "blend.json").read_text())
    told["dataset_digest"] = prepared.digest
    (blend_folder / "blend.json").write_text(json.dumps(told))
    return blend_folder
