"""A model that was registered from the tiny data set, with folders made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tiny_ensemble import write_ensemble

from ranzcr.data import drift
from ranzcr.data.dataset import Dataset
from ranzcr.labels import UID
from ranzcr.predictions import Origin, Predictions
from ranzcr.registry import gate_rules, registry
from ranzcr.stages import register


def write_folders(folder: Path, dataset: Path) -> tuple[Path, Path]:
    """What export and blend would write; the out-of-fold predictions are mostly right."""
    prepared = Dataset.open(dataset)
    ensemble, blend = folder / "ensemble", folder / "blend"
    for path in (ensemble, blend):
        path.mkdir(parents=True)
    write_ensemble(ensemble, prepared.schema.names, cache_size=prepared.image_size, sizes=(32,))
    (ensemble / "parity.json").write_text('{"max_abs_diff": {"a": 1e-6}, "limit": 1e-4}')
    rows = prepared.rows("train")
    noise = np.random.default_rng(0).random((len(rows), len(prepared.schema)))
    values = (0.9 * prepared.targets(rows) + 0.1 * noise).astype(np.float32)
    origin = Origin(experiment="tiny", dataset_digest=prepared.digest, members=("tiny",))
    uids = prepared.table[UID].to_numpy()[rows]
    Predictions(uids, values, prepared.schema, origin).write(blend / "oof.parquet")
    told = {
        **{"method": "weights", "weights": {"tiny": 1.0}, "members": ["tiny"], "run_id": ""},
        **{"cv_auc": 1.0, "cv_auc_lo": 0.9, "cv_auc_hi": 1.0, "digest": "b" * 64},
        **{"dataset_digest": prepared.digest, "profile": drift.profile(prepared)},
    }
    (blend / "blend.json").write_text(json.dumps(told))
    return ensemble, blend


def register_one(folder: Path, dataset: Path, min_auc: float = 0.5) -> str:
    """Register it; its version. It fails its gates where `min_auc` is out of its reach."""
    ensemble, blend = write_folders(folder, dataset)
    rules = gate_rules.load(min_auc=min_auc)
    out = folder / "candidate.json"
    return register.run(ensemble, out, blend=blend, dataset=dataset, rules=rules).version


def promote_one(folder: Path, dataset: Path) -> str:
    """Register and promote it; its version."""
    version = register_one(folder, dataset)
    registry.promote(version, why="a test")
    return version
