"""A blend and its members' checkpoints -> the ensemble folder: ONNX models and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranzcr.documents import (
    Blend,
    CheckpointMetrics,
    Ensemble,
    EnsembleMember,
    Parity,
    check_dataset,
)
from ranzcr.errors import DataError
from ranzcr.files import hash_folder, replacing
from ranzcr.progress import track

_Folds = dict[Path, CheckpointMetrics]  # checkpoint folders of one experiment, by fold


@dataclass(frozen=True)
class ExportResult:
    path: Path
    digest: str  # of the folder's content
    max_abs_diff: float  # of a probability, between torch and ONNX


def run(blend: Path, checkpoints: Sequence[Path], out: Path) -> ExportResult:
    """Export every fold model of every weighted member, each checked against torch.

    Args:
        blend: folder made by `ranzcr blend`.
        checkpoints: checkpoint folders; those of experiments without weight are left out.

    Writes ensemble.json, parity.json and <experiment>/fold<k>.onnx.
    Raises DataError if a weighted member has no checkpoint or one is of another data set,
    RanzcrError if an exported model differs from torch.
    """
    from ranzcr.inference.export import LIMIT

    blended = Blend.read(blend)
    weights = blended.used_weights
    by_experiment = _by_experiment([Path(path) for path in checkpoints], blended.dataset_digest)
    missing = [name for name in weights if name not in by_experiment]
    if missing:
        raise DataError(
            f"{blend}: no checkpoint of {', '.join(missing)} among the {len(checkpoints)} given; "
            "give every fold's checkpoint of each member"
        )
    folds = {path: metrics for name in weights for path, metrics in by_experiment[name].items()}
    shared = next(iter(folds.values()))
    with replacing(out) as beside:
        beside.mkdir()
        differences = {
            _model_of(folds[path]): _export(path, folds[path], beside)
            for path in track(folds, "Exporting models")
        }
        Ensemble(
            labels=shared.labels,
            members=tuple(_member(name, weights[name], by_experiment[name]) for name in weights),
            cache_size=shared.cache_size,
            prevalence=shared.prevalence,
            dataset_digest=blended.dataset_digest,
            blend_digest=blended.digest,
            method=blended.method,
        ).write(beside)
        Parity(max_abs_diff=differences, limit=LIMIT).write(beside)
    return ExportResult(Path(out), hash_folder(out), max(differences.values()))


def _by_experiment(checkpoints: Sequence[Path], digest: str) -> dict[str, _Folds]:
    """Group checkpoints by experiment, each in the order of folds.

    Raises DataError for one of another data set, or two of the same fold.
    """
    checkpoint_of: dict[tuple[str, int], Path] = {}
    grouped: dict[str, _Folds] = {}
    by_path = {path: CheckpointMetrics.read(path) for path in checkpoints}
    for path, metrics in sorted(by_path.items(), key=lambda item: item[1].fold):
        check_dataset(path, metrics.dataset_digest, digest, "train")
        other = checkpoint_of.setdefault((metrics.experiment, metrics.fold), path)
        if other != path:
            raise DataError(
                f"{path}: also fold {metrics.fold} of {metrics.experiment}, as {other}; "
                "leave one of them out"
            )
        grouped.setdefault(metrics.experiment, {})[path] = metrics
    return grouped


def _export(checkpoint_folder: Path, metrics: CheckpointMetrics, out: Path) -> float:
    """Write one ONNX file; returns its largest difference from torch on the fold's own images."""
    from ranzcr.inference import export
    from ranzcr.models import checkpoint

    network, path = checkpoint.load(checkpoint_folder).network, out / _model_of(metrics)
    export.export(network, path, image_size=metrics.image_size)
    return export.parity(network, path, np.load(checkpoint_folder / checkpoint.EXAMPLES))


def _member(name: str, weight: float, folds: _Folds) -> EnsembleMember:
    from ranzcr.models import checkpoint

    path, metrics = next(iter(folds.items()))
    return EnsembleMember(
        experiment=name,
        weight=weight,
        image_size=metrics.image_size,
        tta=checkpoint.read_experiment(path).tta,
        models=tuple(map(_model_of, folds.values())),
    )


def _model_of(metrics: CheckpointMetrics) -> str:
    return f"{metrics.experiment}/fold{metrics.fold}.onnx"
