"""AdamW with a schedule per step, and adaptive gradient clipping."""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.optim._param_groups import param_groups_weight_decay
from timm.utils.agc import adaptive_clip_grad

from ranzcr.config import Phase, TrainingConfig
from ranzcr.models.network import Network

_WARMUP_START = 0.01  # of the phase's learning rate


def learning_rate_scale(training: TrainingConfig, images_per_step: int) -> float:
    """Return the factor of a phase's learning rate: linear in the images of one step."""
    return images_per_step / training.lr_batch if training.lr_batch else 1.0


def adamw(
    network: Network, training: TrainingConfig, *, lr: float, fused: bool
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); biases and norms do not decay."""
    groups = param_groups_weight_decay(network, training.weight_decay)
    return torch.optim.AdamW(groups, lr=lr, fused=fused)


def factor_at(step: int, phase: Phase, *, steps_per_epoch: int) -> float:
    """The share of `phase.lr` that holds at optimiser step `step` (from 0) of the phase.

    Linear from 1% over the warm-up; then constant, or a half cosine to `phase.lr_end`, which it
    reaches when the phase is over.
    """
    warmup = round(phase.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return _WARMUP_START + (1 - _WARMUP_START) * step / warmup
    if phase.schedule == "constant":
        return 1.0
    progress = min((step - warmup) / (phase.epochs * steps_per_epoch - warmup), 1.0)
    end = phase.lr_end / phase.lr
    return end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2


def clip_adaptively(network: Network, factor: float) -> None:
    """Keep each unit's gradient below `factor` x its weight's norm (Brock et al. 2021, eq. 3).

    The head's last layer is left alone, as the paper advises.
    """
    last = {id(parameter) for parameter in network.head.parameters()}
    clipped = [parameter for parameter in network.parameters() if id(parameter) not in last]
    clip: Any = adaptive_clip_grad  # untyped
    clip(clipped, clip_factor=factor)
