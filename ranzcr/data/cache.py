"""The image cache: every image decoded once, resized once, stored as uint8 grey.

`images.npy` is (N, S, S) uint8 in C order: a row is read by a memory copy of S x S bytes, in any
order, by any number of workers.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ranzcr.cores import cores
from ranzcr.errors import DataError
from ranzcr.progress import track
from ranzcr.submission import kernel


@dataclass(frozen=True)
class CachedImage:
    """One image of the cache and what its file was."""

    pixels: np.ndarray  # (S, S) uint8
    width: int  # of the original, pixels
    height: int
    sha256: str  # of the file's bytes


@dataclass(frozen=True)
class BadImage:
    """A file that is not a whole image."""

    problem: str
    sha256: str


def build(path: Path, files: Sequence[Path], size: int, *, skip_bad: bool) -> pd.DataFrame:
    """Decode and resize `files` on all cores and write the good ones to `path`, in order.

    Plain writes, not a memory map: a full disk is then an OSError, where a map dies of SIGBUS.

    Returns one row per file: width, height, sha256, cache_crc32 and `problem`, which is "" for
    those that are in the cache. Raises DataError at the first bad file unless `skip_bad`.
    """
    facts = []
    with open(path, "wb") as cached:
        _write_header(cached, (0, size, size))  # its length does not depend on the count
        for file, image in zip(files, read_images(files, size), strict=True):
            if isinstance(image, CachedImage):
                cached.write(image.pixels.data)
                facts.append(
                    (image.width, image.height, image.sha256, zlib.crc32(image.pixels.data), "")
                )
            elif skip_bad:
                facts.append((0, 0, image.sha256, 0, image.problem))
            else:
                raise DataError(
                    f"{file}: {image.problem}; fix the image, or leave it out with --skip-bad"
                )
        cached.seek(0)
        _write_header(cached, (sum(not problem for *_, problem in facts), size, size))
    columns = ["width", "height", "sha256", "cache_crc32", "problem"]
    types = {"width": np.int32, "height": np.int32, "cache_crc32": np.uint32}
    return pd.DataFrame(facts, columns=columns).astype(types)


def read_images(files: Sequence[Path], size: int) -> Iterator[CachedImage | BadImage]:
    """Read files as S x S squares on all cores, in order, a few ahead of the caller."""
    workers = cores()
    images = kernel.in_order(lambda file: read_image(file, size), files, workers, 4 * workers)
    yield from track(images, "Reading images", len(files))


def read_image(file: Path, size: int) -> CachedImage | BadImage:
    """Read an image file as an S x S square, as the submission's kernel does."""
    data = file.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        image = kernel.decode(data)
    except kernel.BrokenImageError as error:
        return BadImage(str(error), sha256)
    height, width = image.shape
    return CachedImage(kernel.square(image, size), width, height, sha256)


def _write_header(file: io.BufferedWriter, shape: tuple[int, int, int]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
