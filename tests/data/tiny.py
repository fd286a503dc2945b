"""Tiny studies for the tests of this room, made in code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

UIDS = [f"1.2.{number}" for number in range(8)]
TRAIN = ["StudyInstanceUID,ETT - Normal,CVC - Normal,PatientID"] + [
    f"{uid},{number % 2},{int(number < 4)},p{number // 2}" for number, uid in enumerate(UIDS)
]


def noise(seed: int, height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth random grey image."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (5, 5), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def edit(file: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
