"""A model registered from the tiny data set, with hand-made folders."""

from __future__ import annotations

from pathlib import Path

from blends import write_blend
from tiny_ensemble import write_ensemble

from ranzcr.data.dataset import Dataset
from ranzcr.documents import Parity
from ranzcr.registry import gate_rules, registry
from ranzcr.stages import register


def write_folders(folder: Path, dataset: Path) -> tuple[Path, Path]:
    """Write what export and blend would; the out-of-fold predictions are mostly right."""
    prepared = Dataset.open(dataset)
    ensemble = folder / "ensemble"
    ensemble.mkdir(parents=True)
    write_ensemble(ensemble, prepared.schema.names, cache_size=prepared.image_size, sizes=(32,))
    Parity(max_abs_diff={"a": 1e-6}, limit=1e-4).write(ensemble)
    return ensemble, write_blend(folder / "blend", dataset)


def register_one(folder: Path, dataset: Path, min_auc: float = 0.5) -> str:
    """Register it; return its version. It fails its gates if `min_auc` is too high."""
    ensemble, blend = write_folders(folder, dataset)
    rules = gate_rules.load(min_auc=min_auc)
    out = folder / "candidate.json"
    return register.run(ensemble, out, blend=blend, dataset=dataset, rules=rules).version


def promote_one(folder: Path, dataset: Path) -> str:
    """Register and promote it; return its version."""
    version = register_one(folder, dataset)
    registry.promote(version, why="a test")
    return version
