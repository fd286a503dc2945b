"""Batches from the image cache: the same ones whatever the number of workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ranzcr.config import Experiment
from ranzcr.data import augmentation
from ranzcr.data.annotations import Line, draw, line_masks
from ranzcr.data.dataset import Dataset
from ranzcr.labels import UID
from ranzcr.training.recipe import Leg

# Shape suffixes in this file: B images, C channels, S pixels a side, L labels, F device families.
Key = tuple[int, int]  # epoch, position among the rows


class Batch(NamedTuple):
    """Images with what is known of them."""

    images: Tensor  # (B, C, S, S) uint8; C is 3 where lines are drawn into them, else 1
    targets_BL: Tensor  # float32, 0 to 1
    positions_B: Tensor  # int64, among the rows that were asked for
    drawn: Tensor | None = None  # (B, 3, S, S) uint8: the same with lines, for distillation
    masks: Tensor | None = None  # (B, F, S, S) uint8, 0 or 1, for a mask decoder
    annotated_B: Tensor | None = None  # bool: whether the masks say anything


@dataclass(frozen=True)
class Loaders:
    """The two loaders of a leg, for one device of `world`."""

    experiment: Experiment
    dataset: Dataset
    leg: Leg
    rank: int = 0
    world: int = 1

    def train(self) -> DataLoader[Batch]:
        """Augmented and shuffled; a last batch that is not full is left out, unless alone."""
        experiment, leg = self.experiment, self.leg
        images = BatchMaker(
            self.dataset,
            leg.rows_R,
            leg.targets_RL,
            augment=augmentation.make(experiment.data.augment, leg.image_size),
            seed=(experiment.training.seed, leg.index),
            drawn=leg.phase.drawn,
            paired=leg.phase.distill is not None,
            masks=experiment.model.mask_decoder,
        )
        sampler = EpochSampler(len(images), images.seed, self.rank, self.world)
        return self._loader(images, sampler, drop_last=len(sampler) > experiment.data.batch_size)

    def valid(self) -> DataLoader[Batch] | None:
        """Every row of the fold, only resized; None without rows."""
        leg = self.leg
        if not len(leg.valid_rows):
            return None
        images = BatchMaker(
            self.dataset,
            leg.valid_rows,
            leg.valid_targets,
            augment=augmentation.make("none", leg.image_size),
            seed=(0, leg.index),
            drawn=leg.phase.drawn,
        )
        sampler = EpochSampler(len(images), None, self.rank, self.world)
        return self._loader(images, sampler, drop_last=False)

    def _loader(
        self, images: BatchMaker, sampler: EpochSampler, *, drop_last: bool
    ) -> DataLoader[Batch]:
        workers = self.experiment.data.workers
        return DataLoader(
            images,
            batch_size=self.experiment.data.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=_as_is,
            # Its own, or it draws from the generator that dropout uses, when it happens to start.
            generator=torch.Generator(),
        )


class EpochSampler(Sampler[Key]):
    """(epoch, position) keys, shuffled by seed and epoch or in order, dealt out to devices.

    The shares are equally long: they are filled up with rows from the beginning.
    """

    def __init__(
        self, count: int, seed: tuple[int, ...] | None, rank: int = 0, world: int = 1
    ) -> None:
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
            np.random.default_rng((*self.seed, self.epoch)).shuffle(order)
        share = np.resize(order, len(self) * self.world)[self.rank :: self.world]
        return iter([(self.epoch, position) for position in share.tolist()])


class BatchMaker(torch.utils.data.Dataset[Batch]):
    """Whole batches of chosen rows; what is random about an image follows from its key and row."""

    def __init__(
        self,
        dataset: Dataset,
        rows: np.ndarray,
        targets: np.ndarray,
        *,
        augment: augmentation.Augment,
        seed: tuple[int, ...],
        drawn: bool = False,
        paired: bool = False,
        masks: bool = False,
    ) -> None:
        self.images, self.schema = dataset.images, dataset.schema
        self.rows, self.targets = rows, targets
        self.augment, self.seed = augment, seed
        self.drawn, self.paired, self.masks = drawn, paired, masks
        self.lines = _lines_by_row(dataset) if drawn or paired or masks else {}
        self.sizes = dataset.table[["width", "height"]].to_numpy()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, keys: list[Key]) -> Batch:
        samples = [self._sample(*key) for key in keys]
        positions = np.array([position for _, position in keys])
        views = [_stack(view) for view in zip(*(images for images, _ in samples), strict=True)]
        batch = Batch(
            images=views[0],
            targets_BL=torch.from_numpy(self.targets[positions]),
            positions_B=torch.from_numpy(positions),
            drawn=views[1] if self.paired else None,
        )
        if not self.masks:
            return batch
        masks = torch.from_numpy(np.stack([cast(np.ndarray, masks) for _, masks in samples]))
        annotated = torch.tensor([self.rows[position] in self.lines for position in positions])
        return batch._replace(masks=masks, annotated_B=annotated)

    def _sample(self, epoch: int, position: int) -> tuple[augmentation.Images, np.ndarray | None]:
        row = int(self.rows[position])
        plain = self.images[row]
        views: augmentation.Images = (plain,)
        if self.drawn:
            views = (self._draw(row, plain),)
        elif self.paired:
            views = (plain, self._draw(row, plain))
        rng = np.random.default_rng((*self.seed, epoch, row))
        return self.augment(views, self._masks(row) if self.masks else None, rng)

    def _draw(self, row: int, plain: np.ndarray) -> np.ndarray:
        width, height = self.sizes[row].tolist()
        return draw(plain, self.lines[row], self.schema, width=width, height=height)

    def _masks(self, row: int) -> np.ndarray:
        width, height = self.sizes[row].tolist()
        return line_masks(
            self.images.shape[1],
            self.lines.get(row, ()),
            tuple(self.schema.families),
            width=width,
            height=height,
        )


def _lines_by_row(dataset: Dataset) -> dict[int, list[Line]]:
    """Label and points of each annotated row's lines."""
    row_of = {uid: row for row, uid in enumerate(dataset.table[UID])}
    lines: dict[int, list[Line]] = {}
    columns = (dataset.annotations[name] for name in (UID, "label", "points"))
    for uid, label, points in zip(*columns, strict=True):
        lines.setdefault(row_of[uid], []).append((label, json.loads(points)))
    return lines


def _stack(images: tuple[np.ndarray, ...]) -> Tensor:
    """B images of (S, S) or (S, S, 3) -> (B, C, S, S)."""
    stacked = torch.from_numpy(np.stack(images))
    return stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)


def _as_is(batch: Any) -> Any:
    return batch
