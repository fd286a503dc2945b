"""Find twins: one X-ray that occurs twice in a data set, under two UIDs.

Twins are equal image files or near-duplicates: one X-ray encoded again, resized, with another grey
curve. X-rays of different people look alike, so fine structure alone is compared: a thumbnail of
32 x 32 pixels less its own blur (sigma 1 pixel). Likeness is the correlation of two of them.
Measured on 116 real X-rays and 2,000 phantoms (benchmarks/audit.py):

    6,572 pairs of real X-rays of different patients        at most 0.65, 99.9 % below 0.62
    2.0 million pairs of phantoms of different patients     at most 0.92, 99.9 % below 0.84
    a real X-ray and its JPEG of quality 30, half size, or with noise of 8 grey levels    from 0.97
    a real X-ray and itself with gamma 0.7 or 1.5                                         from 0.95

LIKENESS is between them. Two phantoms of one patient share their anatomy and reach 0.97, so twins
are searched only between groups (patients, folds). Twins that are cropped (2 % leaves 0.38),
rotated, mirrored, or equalised locally (0.91) are not found.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pandas as pd

from ranzcr.labels import PATIENT
from ranzcr.progress import track

LIKENESS = 0.94  # correlation from which two thumbnails are one X-ray; see above
SIDE = 32  # pixels of a thumbnail; in a smaller cache, different phantoms reach 0.97
_BLOCK = 512  # thumbnails that are compared at a time with all others: 60 MB for 30,000 studies


def joined_patients(images: np.ndarray, studies: pd.DataFrame) -> np.ndarray:
    """The PatientID of each study; patients who share an X-ray all get the least of their ids.

    Whoever shares one with either of two is joined to both. Memory: 4 KB per study.

    Args:
        images: (N, S, S) uint8, may be a map; where S < SIDE, equal files alone are twins.
        studies: PatientID and sha256; the index says which row of `images`.
    """
    ids, patient = np.unique(studies[PATIENT].to_numpy(), return_inverse=True)
    _, first, file = np.unique(studies["sha256"], return_index=True, return_inverse=True)
    patient = _join(patient, np.arange(len(patient)), first[file])
    if images.shape[1] >= SIDE:
        for one, other, _ in near_duplicates(images, studies.index.to_numpy(), patient):
            patient = _join(patient, one, other)
    return ids[patient]


def near_duplicates(
    images: np.ndarray, rows: np.ndarray, groups: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of near-duplicates that are not of one group, some at a time; a pair may come twice.

    They are taken in the order of groups, so that a block is compared with what comes after its
    first group alone.

    Args:
        images: (N, S, S) uint8 with S >= SIDE.
        rows: (n,) of `images`.
        groups: (n,) integers.

    Yields one and other, (pairs,) positions in `rows`, and their likeness, LIKENESS to 1.
    """
    order = np.argsort(groups, kind="stable")
    compared = thumbnails(images, rows[order])
    ordered = groups[order]
    for start in track(range(0, len(rows), _BLOCK), "Comparing images"):
        later = int(np.searchsorted(ordered, ordered[start], side="right"))
        likeness = compared[start : start + _BLOCK] @ compared[later:].T
        here, there = np.nonzero(likeness >= LIKENESS)
        one, other = here + start, there + later
        apart = ordered[one] != ordered[other]
        yield order[one[apart]], order[other[apart]], likeness[here, there][apart]


def thumbnails(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n, SIDE * SIDE) float32 of norm 1, so that a product is a correlation; 0 where flat."""
    details = np.zeros((len(rows), SIDE, SIDE), np.float32)
    for thumbnail, row in zip(details, track(rows, "Making thumbnails"), strict=True):
        small = cv2.resize(images[row], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        detail = small - cv2.GaussianBlur(small.astype(np.float32), (0, 0), 1.0)
        detail -= detail.mean()
        norm = np.linalg.norm(detail)
        if norm > SIDE / 100:  # less than a hundredth of a grey level is rounding
            thumbnail[:] = detail / norm
    return details.reshape(len(rows), -1)


def _join(groups: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) groups, those of positions `one` joined with those of `other`; the least number stays.

    Every round gives each group that has a lower one beside it the number of the lowest such.
    """
    while (apart := groups[one] != groups[other]).any():
        beside = np.sort([groups[one[apart]], groups[other[apart]]], axis=0)
        lowest = np.arange(groups.max() + 1)
        np.minimum.at(lowest, beside[1], beside[0])
        groups = lowest[groups]
    return groups
