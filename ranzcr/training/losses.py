"""Losses. Every loss is a mean over its batch."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ranzcr.extensions import LOSSES

# Shape suffixes in this file: B images, C channels, H x W map, L labels, F device families.
DISTILLATION_WEIGHT = 0.5  # of the feature maps' difference (hengck23's staged training)


@LOSSES.register("bce")
def label_loss(logits_BL: Tensor, targets_BL: Tensor) -> Tensor:
    """Binary cross entropy of hard (0 or 1) or soft (0 to 1) labels."""
    return F.binary_cross_entropy_with_logits(logits_BL.float(), targets_BL)


def distillation_loss(student_BCHW: Tensor, teacher_BCHW: Tensor) -> Tensor:
    """0.5 x mean squared difference of two feature maps of one shape."""
    return DISTILLATION_WEIGHT * F.mse_loss(student_BCHW.float(), teacher_BCHW.float())


def mask_loss(logits_BFHW: Tensor, masks_BFSS: Tensor, annotated_B: Tensor) -> Tensor:
    """Binary cross entropy of line masks on annotated images; 0 where a batch has none.

    Masks are shrunk to the logits' size by their maximum, so that a thin line stays a line.
    """
    masks_BFHW = F.adaptive_max_pool2d(masks_BFSS.float(), logits_BFHW.shape[2:])
    pixels_BFHW = F.binary_cross_entropy_with_logits(
        logits_BFHW.float(), masks_BFHW, reduction="none"
    )
    weights_B = annotated_B.float()
    return (pixels_BFHW.mean(dim=(1, 2, 3)) * weights_B).sum() / weights_B.sum().clamp(min=1)


def sharpen(soft: np.ndarray, temperature: float) -> np.ndarray:
    """Push soft labels away from 0.5 for T > 1, towards it for T < 1; none crosses it (seed 2).

    y < .5 -> min(y^T, .5), else max(1 - (1 - y)^T, .5).
    """
    low = np.minimum(soft**temperature, 0.5)
    high = np.maximum(1 - (1 - soft) ** temperature, 0.5)
    return np.where(soft < 0.5, low, high).astype(soft.dtype)
