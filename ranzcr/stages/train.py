"""Train one fold of one experiment: data set -> checkpoint folder."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ranzcr.config import Experiment
from ranzcr.documents import CheckpointMetrics, EpochEntry
from ranzcr.files import replacing
from ranzcr.labels import UID
from ranzcr.soft_labels import SoftLabels
from ranzcr.submission import kernel

if TYPE_CHECKING:
    from ranzcr.data.dataset import Dataset
    from ranzcr.tracking.runs import Run
    from ranzcr.training.fit import FitResult

_EXAMPLES = 4  # held-out images kept with a checkpoint


@dataclass(frozen=True)
class TrainResult:
    path: Path
    digest: str  # of weights, experiment and data set; "" in the helper processes of a training
    valid_auc: float | None  # macro AUC of the fold; None if no label has both classes
    run_id: str | None  # of MLflow


def run(
    experiment: Experiment,
    dataset: Path,
    out: Path,
    *,
    fold: int,
    soft_labels: Path | None = None,
    resume: Path | None = None,
    devices: int = 1,
    track: bool = True,
) -> TrainResult:
    """Train on every fold but `fold` and write the checkpoint folder `out`.

    Args:
        soft_labels: folder made by `ranzcr pseudo`, for experiments that learn from soft labels.
        resume: folder with the states of unfinished trainings, each under its own name; a killed
            training continues from its last epoch.
        devices: GPUs, or processes without a GPU; of each node if torchrun started this process.
        track: record the run in MLflow; a machine without MLflow turns it off.

    Raises ConfigError, DataError, TrackingError, or RanzcrError for a loss that is not finite.
    """
    from ranzcr.data.dataset import Dataset
    from ranzcr.models import checkpoint
    from ranzcr.training.fit import fit, run_key

    data = Dataset.open(dataset)
    state = resume / run_key(experiment, data, fold, soft_labels)[:16] if resume else None
    # Opened before training, so that an unreachable MLflow is noticed early.
    with _open_run(experiment, data, fold, soft_labels, track) as record:
        result = fit(
            experiment,
            data,
            fold=fold,
            soft_labels=soft_labels,
            resume=state,
            devices=devices,
            on_epoch=lambda entry: _log_epoch(record, EpochEntry(**entry)),
        )
        if not result.is_main:
            return TrainResult(out, "", None, None)
        run_id = record.run_id if record else None
        metrics = _metrics(experiment, data, fold, result, run_id)
        with replacing(out) as beside:
            examples = _examples(data, result, metrics.image_size)
            checkpoint.save(result.network, experiment, metrics, examples, beside)
            result.oof.write(beside / "oof.parquet")
            _draw_curves(metrics.history, f"{experiment.name} fold {fold}", beside / "curves.png")
        if record:
            _log_result(record, metrics, _gpu_hours(result))
            record.log_artifacts(out)
    if state is not None:
        shutil.rmtree(state, ignore_errors=True)
    return TrainResult(out, checkpoint.digest(out), metrics.valid_auc, run_id)


def _open_run(
    experiment: Experiment, data: Dataset, fold: int, soft_labels: Path | None, track: bool
) -> AbstractContextManager[Run | None]:
    """Open the fold's run; none without MLflow, and in the helper processes of several devices."""
    # Under torchrun RANK counts the processes of all nodes, else LOCAL_RANK those of one.
    rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    if not track or rank != "0":
        return nullcontext()
    from ranzcr.tracking import context

    soft = None
    if soft_labels is not None and experiment.needs_soft_labels:
        soft = SoftLabels.open(soft_labels)
    return context.fold_run(
        experiment,
        dataset_digest=data.digest,
        fold=fold,
        labels=data.schema.names,
        dataset_path=data.path,
        teachers=experiment.teachers or (soft.teachers if soft else ()),
        soft_labels=soft.digest if soft else "",
    )


def _log_epoch(record: Run | None, entry: EpochEntry) -> None:
    if record:
        record.log_epoch(entry.epoch, entry.model_dump(exclude={"epoch", "phase"}))


def _log_result(record: Run, metrics: CheckpointMetrics, gpu_hours: float | None) -> None:
    from ranzcr.tracking.names import Metric

    record.log_metrics(
        {
            **{f"{Metric.LABEL_AUC}{label}": auc for label, auc in metrics.auc.items()},
            Metric.VALID_AUC: metrics.valid_auc,
            Metric.SECONDS: metrics.seconds,
            Metric.IMAGES_PER_SECOND: metrics.images_per_second,
            Metric.GPU_HOURS: gpu_hours,
        }
    )


def _metrics(
    experiment: Experiment, data: Dataset, fold: int, result: FitResult, run_id: str | None
) -> CheckpointMetrics:
    from ranzcr.ensemble.auc import label_aucs

    held_out = data.targets(_held_out(data, result))
    aucs = label_aucs(held_out, result.oof.values)
    return CheckpointMetrics(
        experiment=experiment.name,
        fold=fold,
        seed=experiment.training.seed,
        labels=data.schema.names,
        dataset_digest=data.digest,
        image_size=experiment.size_of(experiment.training.recipe[-1]),
        cache_size=data.image_size,
        prevalence=data.targets(data.rows("train")).mean(axis=0).round(6).tolist(),
        channels=experiment.model.in_channels,
        valid_auc=result.valid_auc,
        epochs=len(result.history),
        seconds=round(result.seconds, 2),
        images_per_second=round(result.images_per_second, 1),
        run_id=run_id,
        history=tuple(EpochEntry(**entry) for entry in result.history),
        auc=dict(zip(data.schema.names, aucs.tolist(), strict=True)),
    )


def _held_out(data: Dataset, result: FitResult) -> np.ndarray:
    """Return the rows of the data set that `result.oof` predicts, in its order."""
    rows: np.ndarray = pd.Index(data.table[UID]).get_indexer(pd.Index(result.oof.uids))
    return rows


def _examples(data: Dataset, result: FitResult, size: int) -> np.ndarray:
    """Return (n, size, size) uint8: a few held-out images as the network sees them."""
    rows = _held_out(data, result)[:_EXAMPLES]
    return np.stack([kernel.square(data.images[row], size) for row in rows])


def _gpu_hours(result: FitResult) -> float | None:
    """Return the hours of all GPUs; None without a GPU."""
    import torch

    return result.seconds * result.devices / 3600 if torch.cuda.is_available() else None


def _draw_curves(history: Sequence[EpochEntry], title: str, path: Path) -> None:
    """Draw losses and validation AUC by epoch, with a gap for a missing value."""
    from matplotlib.figure import Figure

    epochs = [entry.epoch for entry in history]
    figure = Figure(figsize=(8, 3), layout="constrained")
    figure.suptitle(title)
    losses, scores = figure.subplots(1, 2)
    for axes, name in ((losses, "loss"), (losses, "val_loss"), (scores, "val_auc")):
        values = [getattr(entry, name) for entry in history]
        gaps = [math.nan if value is None else value for value in values]
        axes.plot(epochs, gaps, marker=".", label=name)
    for axes in (losses, scores):
        axes.set_xlabel("epoch")
        axes.legend()
    figure.savefig(path, dpi=80)
