"""How much the images and labels of a data set differ from those of an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ranzcr.data.dataset import Dataset

LIMIT = 0.2  # of the index: the customary bound above which a population counts as another one

_BINS = 32  # grey values, 8 at a time
_IMAGES = 2000  # looked at; more would not move a histogram of 32 bins


def profile(dataset: Dataset) -> dict[str, Any]:
    """What is compared of a data set's train studies, as JSON.

    studies: how many; prevalence: share of positives by label; pixels: the share of grey values in
    each of 32 bins, over at most 2,000 images at even distances.
    """
    rows = dataset.rows("train")
    looked_at = rows[:: max(1, len(rows) // _IMAGES)]
    counts = np.zeros(_BINS, np.int64)
    for row in looked_at:
        counts += np.bincount(dataset.images[row].ravel() >> 3, minlength=_BINS)
    prevalence = dataset.targets(rows).mean(axis=0).round(6).tolist()
    return {
        "studies": len(rows),
        "prevalence": dict(zip(dataset.schema.names, prevalence, strict=True)),
        "pixels": (counts / counts.sum()).round(6).tolist(),
    }


def compare(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, float]:
    """The index of "pixels" and of each label that both profiles have, as label/<name>."""
    found = {"pixels": stability(now["pixels"], then["pixels"], 1e-4)}
    for label, share in now["prevalence"].items():
        if label in then["prevalence"]:
            before = then["prevalence"][label]
            # Half a study: a label without a positive has no logarithm.
            least = 0.5 / min(now["studies"], then["studies"])
            found[f"label/{label}"] = stability([share, 1 - share], [before, 1 - before], least)
    return found


def stability(now: Any, then: Any, least: float) -> float:
    """The population stability index of two distributions: sum of (p - q) ln(p / q), 0 if equal.

    Args:
        now, then: shares that sum to 1.
        least: what a share counts at least.
    """
    p, q = (np.maximum(np.asarray(shares, np.float64), least) for shares in (now, then))
    return float(((p - q) * np.log(p / q)).sum())
