"""A plain folder of image files, read as the data set's cache would hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ranzcr.data import cache
from ranzcr.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png")


def files(folder: Path) -> list[Path]:
    """The image files of a folder by name. Raises DataError where there is none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"{folder}: no image; expected {', '.join(SUFFIXES)} files")
    return found


def read(paths: list[Path], size: int) -> np.ndarray:
    """(N, size, size) uint8 in the order of `paths`. Raises DataError for a bad image."""
    images_NSS = np.empty((len(paths), size, size), np.uint8)
    for row, image in enumerate(cache.read_images(paths, size)):
        if isinstance(image, cache.BadImage):
            raise DataError(f"{paths[row]}: {image.problem}; mend the image or remove it")
        images_NSS[row] = image.pixels
    return images_NSS
