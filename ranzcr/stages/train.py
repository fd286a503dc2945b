"""Train one fold of one experiment: data set -> checkpoint folder."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from ranzcr.config import Experiment
from ranzcr.files import replacing
from ranzcr.labels import UID
from ranzcr.soft_labels import SoftLabels

if TYPE_CHECKING:
    from ranzcr.data.dataset import Dataset
    from ranzcr.training.fit import FitResult

_EXAMPLES = 4  # held-out images kept with a checkpoint


@dataclass(frozen=True)
class TrainResult:
    path: Path
    digest: str  # of weights, experiment and data set
    valid_auc: float  # macro AUC of the fold; NaN where no label has both classes
    run_id: str  # of MLflow; "" where nothing was tracked


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
        resume: folder that keeps the states of unfinished trainings, each under a name of its own;
            a killed training goes on from its last epoch.
        devices: GPUs, or processes where there is none; of each node where torchrun started us.
        track: record the run in MLflow; a machine without MLflow turns it off.

    Raises ConfigError, DataError, TrackingError, or RanzcrError for a loss that is not finite.
    """
    from ranzcr.data.dataset import Dataset
    from ranzcr.models import checkpoint
    from ranzcr.training.fit import fit, run_key

    data = Dataset.open(dataset)
    state = resume / run_key(experiment, data, fold, soft_labels)[:16] if resume else None
    # Opened before training, so that an MLflow that is away is found out early.
    with _record(experiment, data, fold, soft_labels, track) as record:
        result = fit(
            experiment,
            data,
            fold=fold,
            soft_labels=soft_labels,
            resume=state,
            devices=devices,
            on_epoch=lambda entry: record.log_epoch(entry["epoch"], _numbers(entry)),
        )
        if not result.is_main:
            return TrainResult(out, "", result.valid_auc, "")
        metrics = _metrics(experiment, data, fold, result, record.run_id)
        with replacing(out) as beside:
            examples = _examples(data, result, metrics["image_size"])
            checkpoint.save(result.network, experiment, metrics, examples, beside)
            result.oof.write(beside / "oof.parquet")
            _draw_curves(result.history, f"{experiment.name} fold {fold}", beside / "curves.png")
        record.log_metrics({**_summary(metrics), "gpu_hours": _gpu_hours(result)})
        record.log_artifacts(out)
    if state is not None:
        shutil.rmtree(state, ignore_errors=True)
    return TrainResult(out, checkpoint.digest(out), result.valid_auc, record.run_id)


class _Record(Protocol):
    """What of `ranzcr.tracking.runs.Run` a training uses."""

    run_id: str

    def log_epoch(self, step: int, metrics: Any) -> None: ...
    def log_metrics(self, metrics: Any) -> None: ...
    def log_artifacts(self, folder: Path) -> None: ...


class _NoRecord:
    """Keeps nothing: training without MLflow, and the helper processes of several devices."""

    run_id = ""

    def log_epoch(self, step: int, metrics: Any) -> None:
        pass

    def log_metrics(self, metrics: Any) -> None:
        pass

    def log_artifacts(self, folder: Path) -> None:
        pass


@contextmanager
def _record(
    experiment: Experiment, data: Dataset, fold: int, soft_labels: Path | None, track: bool
) -> Iterator[_Record]:
    if not track or _rank() != "0":
        yield _NoRecord()
        return
    from ranzcr.tracking import context

    soft = None
    if soft_labels is not None and experiment.needs_soft_labels:
        soft = SoftLabels.open(soft_labels)
    with context.fold_run(
        experiment,
        dataset_digest=data.digest,
        fold=fold,
        labels=data.schema.names,
        dataset_path=data.path,
        teachers=experiment.teachers or (soft.teachers if soft else ()),
        soft_labels=soft.digest if soft else "",
    ) as run:
        yield run


def _rank() -> str:
    """Of this process: among all nodes under torchrun, else among the devices of one."""
    return os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"


def _metrics(
    experiment: Experiment, data: Dataset, fold: int, result: FitResult, run_id: str
) -> dict[str, Any]:
    """The content of metrics.json."""
    from ranzcr.ensemble.auc import label_aucs

    held_out = data.targets(_held_out(data, result))
    aucs = label_aucs(held_out, result.oof.values)
    recipe = experiment.training.recipe
    return {
        "experiment": experiment.name,
        "fold": fold,
        "seed": experiment.training.seed,
        "labels": list(data.schema.names),
        "dataset_digest": data.digest,
        "image_size": recipe[-1].image_size or experiment.data.image_size,
        "cache_size": data.image_size,
        "prevalence": data.targets(data.rows("train")).mean(axis=0).round(6).tolist(),
        "channels": experiment.model.in_channels,
        "valid_auc": _or_none(result.valid_auc),
        "epochs": len(result.history),
        "seconds": round(result.seconds, 2),
        "images_per_second": round(result.images_per_second, 1),
        "run_id": run_id,
        "history": result.history,
        "auc": dict(zip(data.schema.names, map(_or_none, aucs.tolist()), strict=True)),
    }


def _held_out(data: Dataset, result: FitResult) -> np.ndarray:
    """The rows of the data set that `result.oof` predicts, in its order."""
    return pd.Index(data.table[UID]).get_indexer(pd.Index(result.oof.uids))


def _examples(data: Dataset, result: FitResult, size: int) -> np.ndarray:
    """(n, size, size) uint8: a few held-out images as the network sees them."""
    from ranzcr.data import augmentation

    resize = augmentation.make("none", size)
    rng = np.random.default_rng(0)  # a plain resize draws nothing from it
    rows = _held_out(data, result)[:_EXAMPLES]
    return np.stack([resize((data.images[row],), None, rng)[0][0] for row in rows])


def _summary(metrics: dict[str, Any]) -> dict[str, float | None]:
    per_label = {f"auc/{label}": auc for label, auc in metrics["auc"].items()}
    names = ("valid_auc", "seconds", "images_per_second")
    return {**{name: metrics[name] for name in names}, **per_label}


def _gpu_hours(result: FitResult) -> float | None:
    """None where there is no GPU."""
    import torch

    return result.seconds * result.devices / 3600 if torch.cuda.is_available() else None


def _numbers(entry: dict[str, Any]) -> dict[str, float | None]:
    return {name: entry[name] for name in ("loss", "val_loss", "val_auc", "lr")}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _draw_curves(history: list[dict[str, Any]], title: str, path: Path) -> None:
    """Losses and validation AUC by epoch."""
    from matplotlib.figure import Figure

    epochs = [entry["epoch"] for entry in history]
    figure = Figure(figsize=(8, 3), layout="constrained")
    figure.suptitle(title)
    losses, scores = figure.subplots(1, 2)
    for name in ("loss", "val_loss"):
        losses.plot(epochs, _gaps(history, name), marker=".", label=name)
    scores.plot(epochs, _gaps(history, "val_auc"), marker=".", label="val_auc")
    for axes in (losses, scores):
        axes.set_xlabel("epoch")
        axes.legend()
    figure.savefig(path, dpi=80)


def _gaps(history: list[dict[str, Any]], name: str) -> list[float]:
    """A curve with gaps where there is no value."""
    return [math.nan if entry[name] is None else entry[name] for entry in history]
