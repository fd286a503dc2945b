"""Batches from the image cache: the same ones whatever the number of workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ranzcr.config import Experiment
from ranzcr.data import annotations, augmentation
from ranzcr.data.dataset import Dataset
from ranzcr.labels import UID
from ranzcr.training.recipe import Leg

# Shape suffixes in this file: B images, C channels, S pixels a side, L labels, F device families.
Key = tuple[int, int]  # epoch, position among the leg's rows


class Batch(NamedTuple):
    """Images with what is known of them."""

    images: Tensor  # (B, C, S, S) uint8; C is 3 where lines are drawn, else 1
    targets_BL: Tensor  # float32, 0 to 1
    positions_B: Tensor  # int64, among the rows that were asked for
    drawn: Tensor | None = None  # (B, 3, S, S) uint8: the same images with lines; distillation
    masks: Tensor | None = None  # (B, F, S, S) uint8 0 or 1; with a mask decoder
    annotated_B: Tensor | None = None  # bool: whether the masks say anything


class EpochSampler(Sampler[Key]):
    """(epoch, position) keys: shuffled by (seed, epoch) or in order, dealt out to devices.

    The share of each device is filled up to the same length with rows from the beginning.
    """

    def __init__(self, count: int, *, seed: int | None, rank: int = 0, world: int = 1) -> None:
        self.count, self.seed = count, seed  # no seed: in order
        self.rank, self.world = rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.world)

    def __iter__(self) -> Iterator[Key]:
        order = np.arange(self.count)
        if self.seed is not None:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        dealt = np.resize(order, len(self) * self.world)[self.rank :: self.world]
        return iter([(self.epoch, int(position)) for position in dealt])


class LegImages(torch.utils.data.Dataset):
    """Makes whole batches of a leg's rows; what is random in one follows from its key."""

    def __init__(
        self,
        dataset: Dataset,
        rows: np.ndarray,
        targets: np.ndarray,
        *,
        image_size: int,
        augment: str,
        key: tuple[int, int],
        drawn: bool = False,
        paired: bool = False,
        masks: bool = False,
    ) -> None:
        self.dataset, self.rows, self.targets = dataset, rows, targets
        self.augment = augmentation.make(augment, image_size)
        self.key = key  # seed, phase
        self.drawn, self.paired, self.masks = drawn, paired, masks
        needs_lines = drawn or paired or masks
        self.lines = _lines(dataset, rows) if needs_lines else {}
        self.sizes = dataset.table[["width", "height"]].to_numpy()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Any:
        raise NotImplementedError

    def __getitems__(self, keys: list[Key]) -> Batch:
        raise NotImplementedError
