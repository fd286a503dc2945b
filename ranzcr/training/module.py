"""One phase of one fold as a Lightning module."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from ranzcr.config import Experiment
from ranzcr.errors import RanzcrError
from ranzcr.extensions import LOSSES
from ranzcr.models.network import Network
from ranzcr.training import losses, optim
from ranzcr.training.loader import Batch
from ranzcr.training.recipe import Leg

# Shape suffixes in this file: B images.
_STEPS_BETWEEN_LOSS_CHECKS = 50  # a check waits for the GPU


class PhaseModule(L.LightningModule):
    """Trains `network` on one leg; `teacher` is the frozen network of a leg that distills."""

    def __init__(
        self, network: Network, experiment: Experiment, leg: Leg, teacher: Network | None
    ) -> None:
        super().__init__()
        self.network = network
        self.experiment = experiment
        self.leg = leg
        # A tuple hides it from Lightning: it is neither trained, averaged nor saved.
        self._teacher = () if teacher is None else (teacher.eval().requires_grad_(False),)
        self._label_loss = LOSSES.get(experiment.training.loss)
        self.loss_sum: Tensor | float = 0.0  # of this epoch
        self.steps = 0

    def on_train_epoch_start(self) -> None:
        """Dropout and stochastic depth depend on the epoch alone, so a resumed run repeats them."""
        key = (self.experiment.training.seed, self.leg.index, self.current_epoch, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        self.loss_sum = 0.0

    def training_step(self, batch: Batch, step: int) -> Tensor:
        loss = self._loss(batch)
        self.loss_sum = self.loss_sum + loss.detach()
        self.steps = step + 1
        if step % _STEPS_BETWEEN_LOSS_CHECKS == 0:
            self.mean_loss()
        return loss

    def mean_loss(self) -> float:
        """Of this epoch's steps on this device. Raises RanzcrError where it is not finite."""
        mean = float(self.loss_sum) / self.steps
        if not math.isfinite(mean):
            raise RanzcrError(
                f"{self.experiment.name}: phase {self.leg.phase.name}, epoch "
                f"{self.current_epoch + 1}: loss is {mean}; lower lr or check the images"
            )
        return mean

    def _loss(self, batch: Batch) -> Tensor:
        outputs = self.network.outputs(batch.images)
        loss: Tensor = self._label_loss(outputs.logits_BL, batch.targets_BL)
        for teacher in self._teacher:
            assert batch.drawn is not None
            with torch.no_grad():
                followed = teacher.features(batch.drawn)
            loss = loss + losses.distillation_loss(outputs.features_BCHW, followed)
        if outputs.masks_BFHW is not None and batch.masks is not None:
            assert batch.annotated_B is not None
            weight = self.experiment.training.mask_weight
            loss = loss + weight * losses.mask_loss(
                outputs.masks_BFHW, batch.masks, batch.annotated_B
            )
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.experiment.training.agc:
            optim.clip_adaptively(self.network, self.experiment.training.agc)

    def validation_step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return {"positions": batch.positions_B, "logits": self.network(batch.images).float()}

    def configure_optimizers(self) -> Any:
        training, phase = self.experiment.training, self.leg.phase
        images = self.experiment.data.batch_size * training.accumulate * self.trainer.world_size
        unscaled = training.grad_clip or training.agc
        optimizer = optim.adamw(
            self.network,
            training,
            lr=phase.lr * optim.learning_rate_scale(training, images),
            # A fused step unscales half-precision gradients itself, too late to clip them.
            fused=not (unscaled and training.precision == "16-mixed"),
        )
        steps_per_epoch = int(self.trainer.estimated_stepping_batches) // phase.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: optim.factor_at(step, phase, steps_per_epoch=steps_per_epoch),
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
