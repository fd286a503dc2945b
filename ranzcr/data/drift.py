"""Drift: the difference of a data set's images and labels from those of an earlier one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranzcr.data.dataset import Dataset
from ranzcr.documents import DatasetProfile

LIMIT = 0.2  # of the index: the customary bound above which a population counts as another one

_BINS = 32  # grey values, 8 at a time
_IMAGES = 2000  # looked at; more would not move a histogram of 32 bins


def profile(dataset: Dataset) -> DatasetProfile:
    """Return the profile of a data set's train studies.

    Grey values are counted in at most 2,000 images at even distances.
    """
    rows = dataset.rows("train")
    looked_at = rows[:: max(1, len(rows) // _IMAGES)]
    counts = np.zeros(_BINS, np.int64)
    for row in looked_at:
        counts += np.bincount(dataset.images[row].ravel() >> 3, minlength=_BINS)
    prevalence = dataset.targets(rows).mean(axis=0).round(6).tolist()
    return DatasetProfile(
        studies=len(rows),
        prevalence=dict(zip(dataset.schema.names, prevalence, strict=True)),
        pixels=(counts / counts.sum()).round(6).tolist(),
    )


def compare(now: DatasetProfile, then: DatasetProfile) -> dict[str, float]:
    """Return the index of "pixels" and of each label that both profiles have, as label/<name>."""
    indexes = {"pixels": stability(now.pixels, then.pixels, 1e-4)}
    for label, share in now.prevalence.items():
        if label in then.prevalence:
            before = then.prevalence[label]
            # Half a study: a label without a positive has no logarithm.
            least = 0.5 / min(now.studies, then.studies)
            indexes[f"label/{label}"] = stability([share, 1 - share], [before, 1 - before], least)
    return indexes


def stability(now: Any, then: Any, least: float) -> float:
    """Return the population stability index of two distributions: sum of (p - q) ln(p / q).

    Args:
        now, then: shares that sum to 1.
        least: the smallest share that is used; smaller ones are raised to it.
    """
    p, q = (np.maximum(np.asarray(shares, np.float64), least) for shares in (now, then))
    return float(((p - q) * np.log(p / q)).sum())
