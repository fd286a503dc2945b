"""A plain folder of image files, read as the data set's cache would hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ranzcr.cores import cores
from ranzcr.errors import DataError
from ranzcr.progress import track
from ranzcr.submission import kernel


def files(folder: Path) -> list[Path]:
    """Return the image files of a folder by name. Raises DataError if there is none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images")
    paths = kernel.image_files(folder)
    if not paths:
        raise DataError(f"{folder}: no image; expected {', '.join(kernel.SUFFIXES)} files")
    return paths


def read(paths: list[Path], size: int) -> np.ndarray:
    """Return (N, size, size) uint8 in the order of `paths`. Raises DataError for a bad image."""
    images_NSS = np.empty((len(paths), size, size), np.uint8)
    squares = kernel.read_squares(paths, size, workers=cores())
    for row, square in enumerate(track(squares, "Reading images", len(paths))):
        if isinstance(square, str):
            raise DataError(f"{paths[row]}: {square}; fix the image or remove it")
        images_NSS[row] = square
    return images_NSS
