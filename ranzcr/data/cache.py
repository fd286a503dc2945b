"""The image cache: every image decoded once, resized once, stored as uint8 grey.

`images.npy` is (N, S, S) uint8 in C order: a row is read by a memory copy of S x S bytes, in any
order, by any number of workers.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pandas as pd

from ranzcr.cores import cores
from ranzcr.errors import DataError
from ranzcr.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH


@dataclass(frozen=True)
class CachedImage:
    """One image of the cache and what its file was."""

    pixels: np.ndarray  # (S, S) uint8
    width: int  # of the original, pixels
    height: int
    sha256: str  # of the file's bytes


@dataclass(frozen=True)
class BadImage:
    """A file that is no whole image."""

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
                raise DataError(f"{file}: {image.problem}; mend it, or leave it out by --skip-bad")
        cached.seek(0)
        _write_header(cached, (sum(not problem for *_, problem in facts), size, size))
    columns = ["width", "height", "sha256", "cache_crc32", "problem"]
    types = {"width": np.int32, "height": np.int32, "cache_crc32": np.uint32}
    return pd.DataFrame(facts, columns=columns).astype(types)


def read_images(files: Sequence[Path], size: int) -> Iterator[CachedImage | BadImage]:
    """Read files as S x S squares on all cores, in order, a few ahead of what is asked for."""
    workers = cores()
    with ThreadPoolExecutor(workers) as pool:  # OpenCV releases the GIL
        images = _in_order(pool, lambda file: read_image(file, size), files, ahead=4 * workers)
        yield from track(images, "Reading images", len(files))


def read_image(file: Path, size: int) -> CachedImage | BadImage:
    """One image file as an S x S square."""
    data = file.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        return CachedImage(*decode(data, size), sha256)
    except ValueError as error:
        return BadImage(str(error), sha256)


def decode(data: bytes, size: int) -> tuple[np.ndarray, int, int]:
    """JPEG or PNG bytes -> (size, size) uint8 grey, original width and height.

    The whole image is squeezed to a square. Colour becomes luminance; 16 bits are scaled from
    their own range to 8. Decoded in full: OpenCV's reduced decoding of JPEGs is up to twice as
    fast but blurs the thin lines that matter here (benchmarks/prepare.py).

    Raises ValueError for what is empty, cut off or not an image.
    """
    if not data:
        raise ValueError("the file is empty")
    # Some versions of OpenCV fill what is cut off with grey and say nothing. An end marker is in
    # a whole JPEG's last scan; an earlier one may be a thumbnail's.
    if data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise ValueError("the JPEG is truncated (no end marker)")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _GREY)
    except cv2.error:  # beyond OpenCV's limit of pixels
        image = None
    if image is None:
        raise ValueError("not a whole JPEG or PNG image: it cannot be decoded")
    height, width = image.shape
    return _to_square(image, size), width, height


def _to_square(image: np.ndarray, size: int) -> np.ndarray:
    if image.dtype != np.uint8:
        image = cv2.normalize(
            image, np.empty(image.shape, np.uint8), 0, 255, cv2.NORM_MINMAX, cv2.CV_8U
        )
    shrinks = min(image.shape) >= size
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=way)


def _in_order(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """`map` on a pool that keeps at most `ahead` results waiting: bounded memory."""
    waiting: deque = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _write_header(file: io.BufferedWriter, shape: tuple[int, int, int]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
