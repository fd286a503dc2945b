"""Train one fold: the recipe's phases one after another, each a Lightning fit."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch

from ranzcr.config import Experiment
from ranzcr.cores import limit_torch
from ranzcr.data.dataset import Dataset
from ranzcr.errors import ConfigError
from ranzcr.files import hash_json
from ranzcr.labels import UID
from ranzcr.models.network import Network
from ranzcr.predictions import Origin, Predictions
from ranzcr.soft_labels import SoftLabels
from ranzcr.training import loader, recipe
from ranzcr.training.callbacks import BatchBar, EpochLog, MovingAverage, SaveState, Validation
from ranzcr.training.module import PhaseModule
from ranzcr.training.recipe import Leg
from ranzcr.training.state import Epoch, RunState, open_state


@dataclass(frozen=True)
class FitResult:
    """One trained fold."""

    network: Network  # in evaluation mode, on the CPU
    history: list[Epoch]
    valid_auc: float  # macro AUC of the fold at the end; NaN where no label has both classes
    oof: Predictions  # of the fold's rows, without test-time augmentation
    seconds: float
    images_per_second: float  # of training steps
    devices: int  # of all nodes
    is_main: bool  # False in the helper processes of a training on several devices


def fit(
    experiment: Experiment,
    dataset: Dataset,
    *,
    fold: int,
    soft_labels: Path | None = None,
    resume: Path | None = None,
    devices: int = 1,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> FitResult:
    """Train every phase of the recipe on all folds but `fold`.

    Args:
        soft_labels: folder made by `ranzcr pseudo`, for phases that learn from soft labels.
        resume: folder of the run's state, written after every epoch. A state found there is gone
            on with, and the result is that of a run that was never stopped.
        devices: GPUs of each node, or processes without a GPU.
        on_epoch: called with each entry of the history.

    Raises ConfigError for a recipe that does not fit the data, RanzcrError for a loss that is not
    finite.
    """
    limit_torch()
    nodes = _count_nodes(devices)
    legs = recipe.legs(experiment, dataset, fold=fold, soft_labels=soft_labels)
    state, checkpoint = open_state(resume, run_key(experiment, dataset, fold, soft_labels))
    run = _Run(experiment, dataset, fold, resume, devices, nodes, on_epoch, state)
    with _quiet():
        for leg in legs[state.phase :]:
            run.train(leg, checkpoint)
            checkpoint = None
    assert state.weights is not None
    assert state.logits_NL is not None
    network = run.new_network(pretrained=False)
    network.load_state_dict(state.weights)
    uids = dataset.table[UID].to_numpy()[legs[-1].valid_rows]
    origin = Origin(
        experiment=experiment.name,
        fold=fold,
        seed=experiment.training.seed,
        dataset_digest=dataset.digest,
    )
    return FitResult(
        network=network.eval(),
        history=state.history,
        valid_auc=state.valid_auc,
        oof=Predictions(uids, state.logits_NL.sigmoid().numpy(), dataset.schema, origin),
        seconds=state.seconds,
        images_per_second=state.images / state.train_seconds,
        devices=devices * nodes,
        is_main=run.is_main,
    )


def _count_nodes(devices: int) -> int:
    """Return the number of nodes that torchrun trains on; 1 without torchrun."""
    if not torch.distributed.is_torchelastic_launched():
        return 1
    processes = int(os.environ["LOCAL_WORLD_SIZE"])
    if processes != devices:
        raise ConfigError(
            f"torchrun started {processes} processes on a node for {devices} devices; "
            f"give --devices {processes}, or --nproc-per-node {devices} to torchrun"
        )
    return int(os.environ["GROUP_WORLD_SIZE"])


@dataclass
class _Run:
    """The state that all phases of one run share."""

    experiment: Experiment
    dataset: Dataset
    fold: int
    resume: Path | None
    devices: int  # of a node
    nodes: int
    on_epoch: Callable[[Epoch], None] | None
    state: RunState
    is_main: bool = True

    def train(self, leg: Leg, checkpoint: Path | None) -> None:
        """Train one phase, resuming from `checkpoint` if there is one, and note its end."""
        network = self._network_for(leg)
        module = PhaseModule(network, self.experiment, leg, self._teacher_of(leg))
        validation = Validation(leg.valid_targets, self.experiment.training.early_stopping)
        trainer = self._trainer(leg, validation)
        self.is_main = trainer.is_global_zero
        batches = loader.Loaders(
            self.experiment, self.dataset, leg, trainer.global_rank, trainer.world_size
        )
        # Only plain tensors are read back: weights_only.
        trainer.fit(
            module, batches.train(), batches.valid(), ckpt_path=checkpoint, weights_only=True
        )
        self._finish(leg, validation.weights or _on_cpu(network), validation)

    def new_network(self, *, pretrained: bool) -> Network:
        """The same random weights each time, or the experiment's pretrained ones."""
        config = self.experiment.model
        torch.manual_seed(self.experiment.training.seed)
        if not pretrained:
            config = config.model_copy(update={"pretrained": False})
        return Network(config, self.dataset.schema)

    def _network_for(self, leg: Leg) -> Network:
        before = self.state.weights if leg.phase.start == "previous" else None
        network = self.new_network(pretrained=self.experiment.model.pretrained and before is None)
        if before is not None:
            network.load_state_dict(before)
        # 1.1 to 1.9 times as fast on a CPU (benchmarks/training.py); not measured on a GPU.
        faster: Network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return faster

    def _teacher_of(self, leg: Leg) -> Network | None:
        if leg.phase.distill is None:
            return None
        teacher = self.new_network(pretrained=False)
        teacher.load_state_dict(self.state.finished[leg.phase.distill])
        return teacher

    def _trainer(self, leg: Leg, validation: Validation) -> L.Trainer:
        training = self.experiment.training
        title = f"{self.experiment.name} fold {self.fold} {leg.phase.name}"
        callbacks: list[L.Callback] = [validation]  # before MovingAverage: see Validation
        if training.ema_decay:
            callbacks.append(MovingAverage(training.ema_decay))
        callbacks.append(EpochLog(title, validation, self.state, self.on_epoch))
        if sys.stderr.isatty():
            callbacks.append(BatchBar(title))
        if self.resume is not None:
            callbacks.append(SaveState(self.resume, self.state))
        shared = self.devices * self.nodes > 1
        on_gpu = torch.cuda.is_available()
        half_without_gpu = training.precision == "16-mixed" and not on_gpu
        return L.Trainer(
            accelerator="gpu" if on_gpu else "cpu",
            devices=self.devices,
            num_nodes=self.nodes,
            strategy="ddp" if shared else "auto",
            precision="32" if half_without_gpu else training.precision,
            max_epochs=leg.phase.epochs,
            accumulate_grad_batches=training.accumulate,
            gradient_clip_val=training.grad_clip,
            sync_batchnorm=training.sync_batchnorm and shared,
            use_distributed_sampler=False,  # EpochSampler deals the rows out
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )

    def _finish(self, leg: Leg, weights: dict[str, torch.Tensor], validation: Validation) -> None:
        state = self.state
        state.phase = leg.index + 1
        state.weights = weights
        state.logits_NL, state.valid_auc = validation.logits_NL, validation.best_auc
        if any(later.distill == leg.phase.name for later in self.experiment.training.recipe):
            state.finished[leg.phase.name] = weights
        if self.resume is not None and self.is_main:
            state.save(self.resume)


def run_key(experiment: Experiment, dataset: Dataset, fold: int, soft_labels: Path | None) -> str:
    """64 hex digits that name a training by all that decides it."""
    soft = ""
    if soft_labels is not None and experiment.needs_soft_labels:
        soft = SoftLabels.open(soft_labels).digest
    return hash_json([experiment.config_hash, dataset.digest, fold, soft])


def _on_cpu(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu().clone() for name, tensor in network.state_dict().items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's chatter; its errors still come through."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", module="torch.optim.lr_scheduler")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
