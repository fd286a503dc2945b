"""A blend and its members' checkpoints -> the ensemble folder: ONNX models and their weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ranzcr.errors import DataError
from ranzcr.files import hash_folder, replacing, write_json
from ranzcr.progress import track


@dataclass(frozen=True)
class ExportResult:
    path: Path
    digest: str  # of the folder's content
    max_abs_diff: float  # of a probability, between torch and ONNX


@dataclass(frozen=True)
class _Checkpoint:
    path: Path
    metrics: dict[str, Any]


def run(blend: Path, checkpoints: Sequence[Path], out: Path) -> ExportResult:
    """Export every fold model of every weighted member, each checked against torch.

    Args:
        blend: folder made by `ranzcr blend`.
        checkpoints: checkpoint folders; those of experiments without weight are left out.

    Writes ensemble.json, parity.json and <experiment>/fold<k>.onnx.
    Raises DataError where a weighted member has no checkpoint or one is of another data set,
    RanzcrError where an exported model differs from torch.
    """
    told = _read_blend(Path(blend))
    weights = {name: weight for name, weight in told["weights"].items() if weight > 0}
    found = _by_experiment([Path(path) for path in checkpoints], told["dataset_digest"])
    missing = [name for name in weights if name not in found]
    if missing:
        raise DataError(
            f"{blend}: no checkpoint of {', '.join(missing)} among the {len(checkpoints)} given; "
            "give every fold's checkpoint of each member"
        )
    folds = [one for name in weights for one in found[name]]
    shared = folds[0].metrics
    with replacing(out) as beside:
        beside.mkdir()
        differences = {
            _file_of(one): _export(one, beside / _file_of(one))
            for one in track(folds, "Exporting models")
        }
        described = {
            "labels": shared["labels"],
            "members": [_member(name, weight, found[name]) for name, weight in weights.items()],
            "cache_size": shared["cache_size"],  # pixels per side that images are decoded to
            "prevalence": shared["prevalence"],
            "dataset_digest": told["dataset_digest"],
            "blend_digest": told["digest"],
            "method": told["method"],
        }
        write_json(beside / "ensemble.json", described)
        write_json(beside / "parity.json", _parity(differences))
    return ExportResult(Path(out), hash_folder(out), max(differences.values()))


def _read_blend(folder: Path) -> dict[str, Any]:
    path = folder / "blend.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if not {"weights", "dataset_digest", "digest", "method"} <= told.keys():
            raise ValueError
    except (OSError, ValueError, AttributeError):
        raise DataError(f"{path}: missing or damaged; make it with ranzcr blend") from None
    return told


def _by_experiment(checkpoints: Sequence[Path], digest: str) -> dict[str, list[_Checkpoint]]:
    """Checkpoints of each experiment by fold; all of the blend's data set, one per fold."""
    from ranzcr.models import checkpoint

    grouped: dict[str, dict[int, _Checkpoint]] = {}
    for path in checkpoints:
        metrics = checkpoint.read_metrics(path)
        if metrics["dataset_digest"] != digest:
            raise DataError(
                f"{path}: trained on data set {metrics['dataset_digest'][:12]}, the blend is of "
                f"{digest[:12]}; train it on that data set"
            )
        same = grouped.setdefault(metrics["experiment"], {})
        other = same.setdefault(metrics["fold"], _Checkpoint(path, metrics))
        if other.path != path:
            raise DataError(
                f"{path}: also fold {metrics['fold']} of {metrics['experiment']}, as {other.path}; "
                "give one of them"
            )
    return {name: [same[fold] for fold in sorted(same)] for name, same in grouped.items()}


def _export(one: _Checkpoint, path: Path) -> float:
    """Write one ONNX file; returns its largest difference from torch on the fold's own images."""
    from ranzcr.inference import export
    from ranzcr.models import checkpoint

    loaded = checkpoint.load(one.path)
    export.export(loaded.network, path, image_size=one.metrics["image_size"])
    return export.parity(loaded.network, path, np.load(one.path / checkpoint.EXAMPLES))


def _member(name: str, weight: float, folds: Sequence[_Checkpoint]) -> dict[str, Any]:
    from ranzcr.models import checkpoint

    return {
        "experiment": name,
        "weight": weight,
        "image_size": folds[0].metrics["image_size"],
        "tta": checkpoint.read_experiment(folds[0].path).tta,
        "models": [_file_of(one) for one in folds],
    }


def _parity(differences: dict[str, float]) -> dict[str, Any]:
    from ranzcr.inference.export import LIMIT

    return {"max_abs_diff": differences, "limit": LIMIT}


def _file_of(one: _Checkpoint) -> str:
    return f"{one.metrics['experiment']}/fold{one.metrics['fold']}.onnx"
