"""An exported ensemble on image files, standing alone.

This file imports nothing of ranzcr: it goes into the offline bundle as it is, beside ensemble.json
and the models, and runs wherever numpy, pandas, OpenCV and ONNX Runtime are. On Kaggle, without
arguments:

    python kernel.py [--images DIR] [--sample sample_submission.csv] [--output submission.csv]

A study whose image is missing or broken gets the prevalences of training: one bad file of the
hidden test must not cost the submission.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pandas as pd

UID = "StudyInstanceUID"
KAGGLE = Path("/kaggle/input/ranzcr-clip-catheter-line-classification")
BATCH = 16  # images
SUFFIXES = (".jpg", ".jpeg", ".png")
SECONDS_BETWEEN_LINES = 5.0
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # the first that is there

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH


class BrokenImageError(ValueError):
    """Bytes that are no whole image."""


class Ensemble:
    """The ensemble folder: its models, loaded, and how they are weighted."""

    def __init__(self, folder: Path | str) -> None:
        folder = Path(folder)
        described = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        self.labels: list[str] = described["labels"]
        self.members = [member for member in described["members"] if member["weight"] > 0]
        self.size: int = described["cache_size"]  # pixels per side to which images are decoded
        self.prevalence: list[float] = described["prevalence"]  # in training, by label
        available = onnxruntime.get_available_providers()
        providers = [name for name in PROVIDERS if name in available]
        self._sessions = {
            model: onnxruntime.InferenceSession(str(folder / model), providers=providers)
            for member in self.members
            for model in member["models"]
        }

    def predict(self, images_BSS: np.ndarray) -> np.ndarray:
        """(B, S, S) uint8 grey squares of `self.size` -> (B, L) float32 probabilities.

        The weighted sum over members of the mean over their models and views.
        """
        total = np.zeros((len(images_BSS), len(self.labels)), np.float64)
        for member in self.members:
            views = _views(_resize(images_BSS, member["image_size"]), member["tta"])
            share = member["weight"] / (len(member["models"]) * len(views))
            for model, view in itertools.product(member["models"], views):
                total += share * self._sessions[model].run(["probability"], {"image": view})[0]
        return np.clip(total, 0, 1).astype(np.float32)


def decode(data: bytes, size: int) -> np.ndarray:
    """JPEG or PNG bytes -> (size, size) uint8 grey, exactly as the training's image cache does.

    The whole image is squeezed to a square. Colour becomes luminance; 16 bits are scaled from
    their own range to 8. Raises BrokenImageError for what is empty, cut off or not an image.
    """
    if data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise BrokenImageError("the JPEG is truncated (no end marker)")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _GREY) if data else None
    if image is None:
        raise BrokenImageError("it is empty, damaged or not an image")
    if image.dtype != np.uint8:
        levels = np.empty(image.shape, np.uint8)
        image = cv2.normalize(image, levels, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    way = cv2.INTER_AREA if min(image.shape) >= size else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=way)


def _resize(images_BSS: np.ndarray, size: int) -> np.ndarray:
    """(B, S, S) -> (B, size, size), as the training resizes the images of its cache."""
    own = images_BSS.shape[1]
    if own == size:
        return images_BSS
    way = cv2.INTER_AREA if own > size else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, (size, size), interpolation=way) for image in images_BSS])


def _views(images_BSS: np.ndarray, tta: str) -> list[np.ndarray]:
    """The models' inputs, (B, 1, S, S) float32 0..255: plain, and mirrored where tta is "flip"."""
    plain = images_BSS[:, None].astype(np.float32)
    return [plain, np.ascontiguousarray(plain[..., ::-1])] if tta == "flip" else [plain]


def predict_files(
    ensemble: Ensemble, files: Sequence[Path | None]
) -> tuple[np.ndarray, dict[int, str]]:
    """(N, L) probabilities and what was wrong with which file; None is a missing one."""
    values = np.tile(np.array(ensemble.prevalence, np.float32), (len(files), 1))
    broken: dict[int, str] = {}
    squares = _tell(_read_ahead(files, ensemble.size), len(files))
    for rows in _batches(range(len(files)), BATCH):
        good, images = [], []
        for row, square in zip(rows, squares, strict=False):
            if isinstance(square, str):
                broken[row] = square
            else:
                good.append(row)
                images.append(square)
        if good:
            values[good] = ensemble.predict(np.stack(images))
    return values, broken


def _batches(rows: Iterable[int], size: int) -> Iterator[list[int]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, size)):
        yield batch


def _read_ahead(files: Sequence[Path | None], size: int) -> Iterator[np.ndarray | str]:
    """Squares, or what is wrong, in order; two batches ahead of the models, on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV releases the GIL
        waiting: deque = deque()
        for file in files:
            waiting.append(pool.submit(_square, file, size))
            if len(waiting) >= 2 * BATCH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _square(file: Path | None, size: int) -> np.ndarray | str:
    if file is None:
        return "there is no such image"
    try:
        return decode(file.read_bytes(), size)
    except (OSError, BrokenImageError, cv2.error) as error:
        return " ".join(str(error).split())


def _tell(items: Iterable, total: int) -> Iterator:
    """Pass `items` on and print how far they are, every few seconds."""
    start = last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            print(f"{count} of {total} images, {count / (now - start):.1f} a second", flush=True)


def _find_images(folder: Path, uids: Sequence[str]) -> list[Path | None]:
    present = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    named = ([present.get(uid + suffix) for suffix in SUFFIXES] for uid in uids)
    return [next((path for path in paths if path), None) for paths in named]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Predict a folder of chest X-rays.")
    parser.add_argument("--images", type=Path, default=KAGGLE / "test", help="folder of images")
    parser.add_argument("--sample", type=Path, default=KAGGLE / "sample_submission.csv")
    parser.add_argument("--output", type=Path, default=Path("submission.csv"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    told = _parse(arguments)
    if not told.sample.is_file():
        sys.exit(f"{told.sample}: no such file; give --sample sample_submission.csv")
    sample = pd.read_csv(told.sample, dtype={UID: str})
    ensemble = Ensemble(Path(__file__).parent)
    missing = [name for name in sample.columns.drop(UID) if name not in ensemble.labels]
    if missing:
        sys.exit(f"{told.sample}: the models do not know {', '.join(missing)}")
    files = _find_images(told.images, sample[UID].tolist())
    if not any(files):
        sys.exit(f"{told.images}: none of the sample's images is there; give --images")
    values, broken = predict_files(ensemble, files)
    table = pd.DataFrame(values, columns=ensemble.labels)
    table.insert(0, UID, sample[UID])
    table[sample.columns].to_csv(told.output, index=False)
    for row, problem in itertools.islice(broken.items(), 10):
        print(f"{sample[UID][row]}: {problem}")
    print(f"{len(files)} studies, {len(broken)} without a readable image (prevalence given)")


if __name__ == "__main__":
    main()
