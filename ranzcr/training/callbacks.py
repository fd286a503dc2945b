"""Callbacks of a phase: averaged weights, validation, log, saved state."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import WeightAveraging
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ranzcr.ensemble.auc import macro_auc
from ranzcr.training.module import PhaseModule
from ranzcr.training.state import NAME, Epoch, RunState, beside_in

# Shape suffixes in this file: N validation rows, L labels.


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights, of all of them at once (foreach).

    The decay warms up as (1 + n) / (10 + n) after n updates, as TensorFlow's does, so that a short
    training does not keep the weights that it began with. BatchNorm's counters are copied.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._update)
        self.decay = decay

    @torch.no_grad()
    def _update(self, averages: Any, currents: Any, updates: Tensor) -> None:
        count = int(updates)
        decay = min(self.decay, (1 + count) / (10 + count))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, 1 - decay)
        else:
            torch._foreach_copy_(averages, currents)


class Validation(L.Callback):
    """Scores the fold after every epoch; with `patience`, keeps the best epoch and stops early.

    It comes before MovingAverage in the list of callbacks: when it scores and keeps, the averaged
    weights are still in place.
    """

    def __init__(self, targets_NL: np.ndarray, patience: int | None) -> None:
        self.targets_NL = targets_NL
        self.patience = patience
        self.auc = self.loss = math.nan  # of the last epoch
        self.best_auc = math.nan
        self.stale = 0  # epochs since the best one
        self.weights: dict[str, Tensor] | None = None  # of the best epoch
        self.logits_NL = torch.full(targets_NL.shape, math.nan)  # of the epoch that counts
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self._outputs.append((outputs["positions"], outputs["logits"]))

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        logits_NL = self._gathered(module)
        targets_NL = torch.from_numpy(self.targets_NL)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits_NL, targets_NL)
        self.loss, self.auc = float(loss), macro_auc(self.targets_NL, logits_NL.numpy())
        if self.patience is None:
            self.best_auc, self.logits_NL = self.auc, logits_NL
            return
        if self.weights is None or self.auc > self.best_auc:
            assert isinstance(module, PhaseModule)
            self.best_auc, self.logits_NL, self.stale = self.auc, logits_NL, 0
            self.weights = {
                name: tensor.cpu().clone() for name, tensor in module.network.state_dict().items()
            }
        else:
            self.stale += 1
            trainer.should_stop = trainer.should_stop or self.stale >= self.patience

    def _gathered(self, module: L.LightningModule) -> Tensor:
        """(N, L) logits of all devices; each saw a share of the rows."""
        positions, logits = (torch.cat(parts) for parts in zip(*self._outputs, strict=True))
        self._outputs = []
        if module.trainer.world_size > 1:
            positions = cast(Tensor, module.all_gather(positions)).flatten()
            logits = cast(Tensor, module.all_gather(logits)).flatten(0, 1)
        logits_NL = torch.empty(self.targets_NL.shape)
        logits_NL[positions.cpu()] = logits.cpu()
        return logits_NL

    def state_dict(self) -> dict[str, Any]:
        names = ("auc", "loss", "best_auc", "stale", "weights", "logits_NL")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)


class EpochLog(L.Callback):
    """Notes every epoch in the run's state, calls `on_epoch`, and prints a line to stderr."""

    def __init__(
        self,
        title: str,
        validation: Validation,
        state: RunState,
        on_epoch: Callable[[Epoch], None] | None,
    ) -> None:
        self.title = title  # "b7v3_001 fold 0 cooldown"
        self.validation = validation
        self.state = state
        self.on_epoch = on_epoch
        self._began = self._trained = 0.0  # clock at the epoch's start, and after its last step

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.is_last_batch:
            self._trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, PhaseModule)
        images = module.steps * module.experiment.data.batch_size * trainer.world_size
        images = min(images, len(module.leg.rows_R))
        self.state.images += images
        self.state.train_seconds += self._trained - self._began
        self.state.seconds += time.perf_counter() - self._began
        entry = {
            "epoch": len(self.state.history) + 1,
            "phase": module.leg.phase.name,
            "loss": module.mean_loss(),
            "val_loss": _or_none(self.validation.loss),
            "val_auc": _or_none(self.validation.auc),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        self.state.history.append(entry)
        if not trainer.is_global_zero:
            return
        print(
            f"{self.title} epoch {trainer.current_epoch + 1}/{trainer.max_epochs} "
            f"loss {entry['loss']:.3f} val_auc {self.validation.auc:.3f} "
            f"{images / (self._trained - self._began):.0f} img/s",
            file=sys.stderr,
            flush=True,
        )
        if self.on_epoch is not None:
            self.on_epoch(entry)


class BatchBar(L.Callback):
    """A bar over one epoch's batches, on a terminal."""

    def __init__(self, title: str) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self.title = title
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True)

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        total = int(trainer.num_training_batches)
        self.task = self.bar.add_task(
            f"{self.title} epoch {trainer.current_epoch + 1}", total=total
        )
        self.bar.start()

    def on_train_batch_end(self, *_: Any) -> None:
        self.bar.advance(self.task)

    def on_train_epoch_end(self, *_: Any) -> None:
        self._close()

    def on_exception(self, *_: Any) -> None:
        self._close()

    def _close(self) -> None:
        self.bar.stop()
        self.bar.remove_task(self.task)


class SaveState(L.Callback):
    """Writes the run's state after each epoch but a phase's last, whose end `fit` notes itself."""

    def __init__(self, folder: Path, state: RunState) -> None:
        self.folder = folder
        self.state = state

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs:
            return
        beside = beside_in(self.folder)
        trainer.save_checkpoint(beside)  # called on all devices, written by the first
        if trainer.is_global_zero:
            beside.replace(self.folder / NAME)

    def on_save_checkpoint(
        self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint.update(self.state.own_part())


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
