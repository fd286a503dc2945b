"""A U-Net decoder on the backbone's own pyramid (mask supervision, 4th place)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Shape suffixes in this file: B images, C channels, H x W map, F device families.
_WIDTH = 64  # channels of the coarsest decoder block, halved at each finer scale
_NARROWEST = 16


class MaskDecoder(nn.Module):
    """Feature pyramid -> one line mask per device family (Ronneberger et al. 2015).

    Args:
        pyramid_channels: channels of each level, finest first.
        num_masks: F.

    Shape: [(B, C_i, H_i, W_i), ...] finest first -> (B, F, H_0, W_0) logits.
    """

    def __init__(self, pyramid_channels: Sequence[int], num_masks: int) -> None:
        super().__init__()
        coarsest, *finer = reversed(pyramid_channels)
        blocks, width = [], coarsest
        for level, skip in enumerate(finer):
            width_out = max(_WIDTH >> level, _NARROWEST)
            blocks.append(_block(width + skip, width_out))
            width = width_out
        self.blocks = nn.ModuleList(blocks)
        self.masks = nn.Conv2d(width, num_masks, 1)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        current, *finer = reversed(pyramid)
        for block, skip in zip(self.blocks, finer, strict=True):
            current = F.interpolate(current, size=skip.shape[2:], mode="nearest")
            current = block(torch.cat([current, skip], dim=1))
        masks: Tensor = self.masks(current)
        return masks


def _block(width_in: int, width_out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
        nn.Conv2d(width_out, width_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
    )
