"""One picture of a prepared data set: is this what was meant?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ranzcr.data.dataset import Dataset

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_THUMBNAILS = 8


def draw(dataset: Dataset, png: Path) -> None:
    """Write `png`: each label's prevalence per fold as bars, above the first train images."""
    from matplotlib.figure import Figure  # not pyplot: no display, no global state

    figure = Figure(figsize=(12, 6), layout="constrained")
    grid = figure.add_gridspec(2, _THUMBNAILS, height_ratios=(3, 2))
    _draw_prevalences(figure.add_subplot(grid[0, :]), dataset)
    axes = [figure.add_subplot(grid[1, column]) for column in range(_THUMBNAILS)]
    for axis in axes:
        axis.set_axis_off()
    for axis, row in zip(axes, dataset.rows("train"), strict=False):
        axis.imshow(dataset.images[row], cmap="gray", vmin=0, vmax=255)
    figure.savefig(png, dpi=80)


def _draw_prevalences(axis: Axes, dataset: Dataset) -> None:
    rows = dataset.rows("train")
    targets, fold = dataset.targets(rows), dataset.table["fold"].to_numpy()[rows]
    places = np.arange(len(dataset.schema))
    width = 0.8 / dataset.folds
    for k in range(dataset.folds):
        prevalence = 100 * targets[fold == k].mean(axis=0)
        axis.bar(
            places + (k - (dataset.folds - 1) / 2) * width, prevalence, width, label=f"fold {k}"
        )
    axis.set_xticks(places, dataset.schema.names, rotation=20, ha="right", fontsize=8)
    axis.set_ylabel("positive, % of images")
    axis.legend(ncols=dataset.folds, fontsize=8)
