"""Heads: a feature map -> one logit per label."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranzcr.extensions import HEADS
from ranzcr.labels import LabelSchema

# Shape suffixes in this file: B images, C channels, H x W feature map, L labels.


def build(name: str, channels: int, schema: LabelSchema, dropout: float) -> nn.Module:
    """Return the head of that name for maps of `channels` channels; logits follow `schema`."""
    head: nn.Module = HEADS.get(name)(channels, schema, dropout)
    return head


@HEADS.register("gap")
def average_head(channels: int, schema: LabelSchema, dropout: float) -> nn.Module:
    return PoolHead(AveragePool(), channels, len(schema), dropout)


@HEADS.register("gmp")
def max_head(channels: int, schema: LabelSchema, dropout: float) -> nn.Module:
    return PoolHead(MaxPool(), channels, len(schema), dropout)


@HEADS.register("gem")
def gem_head(channels: int, schema: LabelSchema, dropout: float) -> nn.Module:
    return PoolHead(GeMPool(), channels, len(schema), dropout)


@HEADS.register("concat")
def average_max_head(channels: int, schema: LabelSchema, dropout: float) -> nn.Module:
    return PoolHead(AverageMaxPool(), 2 * channels, len(schema), dropout)


@HEADS.register("attention")
def attention_head(channels: int, schema: LabelSchema, dropout: float) -> nn.Module:
    return FamilyAttentionHead(channels, schema.families.values(), dropout)


class PoolHead(nn.Module):
    """Pool a feature map over space, then score each label on its own.

    Args:
        pool: (B, C, H, W) -> (B, pooled).
        pooled: how many numbers the pool gives.
        num_labels: L.
        dropout: chance that a pooled number is zeroed while training, 0 to 1.

    Shape: (B, C, H, W) -> (B, L) logits.
    """

    def __init__(self, pool: nn.Module, pooled: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(pooled, num_labels)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        logits_BL: Tensor = self.linear(self.dropout(self.pool(features_BCHW)))
        return logits_BL


class AveragePool(nn.Module):
    def forward(self, features_BCHW: Tensor) -> Tensor:
        return features_BCHW.mean(dim=(2, 3))


class MaxPool(nn.Module):
    def forward(self, features_BCHW: Tensor) -> Tensor:
        return features_BCHW.amax(dim=(2, 3))


class AverageMaxPool(nn.Module):
    """Shape: (B, C, H, W) -> (B, 2C): averages, then maxima."""

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return torch.cat([features_BCHW.mean(dim=(2, 3)), features_BCHW.amax(dim=(2, 3))], dim=1)


class GeMPool(nn.Module):
    """Generalised mean (mean of x^p)^(1/p), p learned (Radenovic et al. 2018).

    p = 1 is the average, p -> infinity the maximum.
    """

    def __init__(self, p: float = 3.0, smallest: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.smallest = smallest

    def forward(self, features_BCHW: Tensor) -> Tensor:
        positive = features_BCHW.float().clamp(min=self.smallest)  # half precision underflows
        return positive.pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


class FamilyAttentionHead(nn.Module):
    """One head per label family, each with an attention of its own (silver, seed 2).

    Args:
        channels: C.
        families: positions of each family's labels; together they cover 0 .. L - 1.
        dropout: before the last linear layer.

    Shape: (B, C, H, W) -> (B, L) logits in label order.
    """

    def __init__(self, channels: int, families: Iterable[tuple[int, ...]], dropout: float) -> None:
        super().__init__()
        positions = list(families)
        self.heads = nn.ModuleList(
            _family_head(channels, len(family), dropout) for family in positions
        )
        self.order: Tensor
        positions_L = torch.tensor([position for family in positions for position in family])
        self.register_buffer("order", positions_L.argsort(), persistent=False)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        logits_BL = torch.cat([head(features_BCHW) for head in self.heads], dim=1)
        return logits_BL.index_select(1, self.order)


def _family_head(channels: int, num_labels: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        SpatialAttention(channels),
        AveragePool(),
        nn.Linear(channels, channels),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(channels, num_labels),
    )


class SpatialAttention(nn.Module):
    """Weigh each place of a feature map by one learned map in 0 to 1 (silver, seed 2).

    Shape: (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 64, 32, 16)
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [*_conv_norm(width_in, width_out), nn.ReLU()]
        self.weigh = nn.Sequential(*layers, *_conv_norm(widths[-1], 1), nn.Sigmoid())

    def forward(self, features_BCHW: Tensor) -> Tensor:
        weights: Tensor = self.weigh(features_BCHW)
        return features_BCHW * weights


class SpatialGate(nn.Module):
    """Weigh each place by its channels' average and maximum (CBAM, Woo et al. 2018; seed 1).

    Shape: (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=7, padding=3)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        average, maximum = features_BCHW.mean(1, keepdim=True), features_BCHW.amax(1, keepdim=True)
        return features_BCHW * F.sigmoid(self.conv(torch.cat([average, maximum], dim=1)))


def _conv_norm(width_in: int, width_out: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(width_in, width_out, 3, padding=1, bias=False), nn.BatchNorm2d(width_out)
