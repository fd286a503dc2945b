"""An exported ensemble on image files: decoding, views and the weighted mean, in one file.

The offline bundle is this file beside ensemble.json and the models. It imports nothing of ranzcr
and runs wherever numpy, OpenCV and ONNX Runtime are installed. On Kaggle, without arguments:

    python kernel.py [--images DIR] [--sample sample_submission.csv] [--output submission.csv]

A study whose image is missing or broken gets the prevalences of training: one bad file of the
hidden test must not cost the submission.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")

# Shape suffixes: N images, B images of a batch, S pixels a side, L labels.
KAGGLE = Path("/kaggle/input")
ENSEMBLE = "ensemble.json"
BATCH = 16  # images in memory at a time
SUFFIXES = (".jpg", ".jpeg", ".png")
SECONDS_BETWEEN_LINES = 5.0
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # the first that is available

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH


class BrokenImageError(ValueError):
    """A file that is missing, damaged or not an image."""


class BrokenModelError(ValueError):
    """An ONNX file that cannot be loaded."""


def is_image(path: Path | str) -> bool:
    """Tell by its name whether a file is an image: suffix in any letter case, not hidden."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """Return the images of a folder by name; none if the folder does not exist."""
    return sorted(filter(is_image, folder.iterdir())) if folder.is_dir() else []


def decode(data: bytes) -> np.ndarray:
    """Decode JPEG or PNG bytes to (H, W) uint8 grey.

    Colour becomes luminance; 16 bits are scaled from their own range to 8. Decoded in full:
    OpenCV's reduced decoding of JPEGs is up to twice as fast but blurs the thin lines that matter
    here (benchmarks/prepare.py). Raises BrokenImageError.
    """
    if not data:
        raise BrokenImageError("the file is empty")
    # Some versions of OpenCV fill what is cut off with grey without an error. An end marker is in
    # a whole JPEG's last scan; an earlier one may be a thumbnail's.
    if data.startswith(_JPEG_START) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise BrokenImageError("the JPEG is truncated (no end marker)")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _GREY)
    except cv2.error:  # beyond OpenCV's limit of pixels
        image = None
    if image is None:
        raise BrokenImageError("not a whole JPEG or PNG image: it cannot be decoded")
    if image.dtype == np.uint8:
        return image
    levels = np.empty(image.shape, np.uint8)
    return cv2.normalize(image, levels, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)


def square(image: np.ndarray, size: int) -> np.ndarray:
    """Squeeze a whole image to (size, size)."""
    if image.shape == (size, size):
        return image
    shrinks = min(image.shape) >= size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=interpolation)


def views(images_BSS: np.ndarray, tta: str) -> list[np.ndarray]:
    """Return the inputs of a model, each (B, 1, S, S): plain, and mirrored if tta is "flip"."""
    plain = images_BSS[:, None]
    return [plain, np.ascontiguousarray(plain[..., ::-1])] if tta == "flip" else [plain]


class OnnxEnsemble:
    """An ensemble folder with its models loaded."""

    def __init__(
        self, folder: Path | str, providers: Sequence[str] = PROVIDERS, threads: int = 0
    ) -> None:
        """Load the models. `threads` of one model's run: 0 lets ONNX Runtime decide.

        Raises BrokenModelError, or OSError, ValueError, KeyError or TypeError for a missing or
        damaged ensemble.json.
        """
        folder = Path(folder)
        description = json.loads((folder / ENSEMBLE).read_text(encoding="utf-8"))
        self.labels = tuple(description["labels"])
        self.members = [member for member in description["members"] if member["weight"] > 0]
        self.cache_size: int = description["cache_size"]  # pixels per side of decoded images
        self.prevalence: list[float] = description["prevalence"]  # in training, by label
        models = [model for member in self.members for model in member["models"]]
        self._sessions = {model: _session(folder / model, providers, threads) for model in models}

    def predict(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Return (N, L) float32 probabilities of N uint8 squares of `cache_size` pixels.

        They are the weighted sum over members of the mean over their models and views.
        """
        parts = [
            self._predict_batch(np.asarray(images[start : start + BATCH]))
            for start in range(0, len(images), BATCH)
        ]
        return np.concatenate([np.empty((0, len(self.labels)), np.float32), *parts])

    def _predict_batch(self, images_BSS: np.ndarray) -> np.ndarray:
        total = np.zeros((len(images_BSS), len(self.labels)), np.float64)
        for member in self.members:
            resized = np.stack([square(image, member["image_size"]) for image in images_BSS])
            inputs = views(resized.astype(np.float32), member["tta"])
            share = member["weight"] / (len(member["models"]) * len(inputs))
            for model, view in itertools.product(member["models"], inputs):
                total += share * self._sessions[model].run(["probability"], {"image": view})[0]
        return np.clip(total, 0, 1).astype(np.float32)


def _session(path: Path, providers: Sequence[str], threads: int) -> Any:
    import onnxruntime  # slow to import, and reading images does not need it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    available = [name for name in providers if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(path, options, providers=available)
    except Exception as error:  # ONNX Runtime's errors have no common ancestor
        problem = str(error).splitlines()[0]
        raise BrokenModelError(f"{path}: cannot be loaded ({problem})") from None


def predict_files(
    ensemble: OnnxEnsemble,
    files: Sequence[Path | None],
    *,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda items, total: items,
) -> tuple[np.ndarray, dict[int, str]]:
    """Predict image files; None stands for a missing one.

    Returns (N, L) probabilities, which are the prevalences for broken files, and the problem of
    each broken file by its row.
    """
    values = np.tile(np.array(ensemble.prevalence, np.float32), (len(files), 1))
    broken: dict[int, str] = {}
    squares = iter(progress(read_squares(files, ensemble.cache_size), len(files)))
    for start in range(0, len(files), BATCH):
        rows = range(start, min(start + BATCH, len(files)))
        batch = dict(zip(rows, squares, strict=False))
        broken |= {row: item for row, item in batch.items() if isinstance(item, str)}
        good = [row for row in rows if row not in broken]
        if good:
            values[good] = ensemble.predict([batch[row] for row in good])
    return values, broken


def read_squares(
    files: Iterable[Path | None], size: int, workers: int | None = None
) -> Iterator[np.ndarray | str]:
    """Read images as (size, size) uint8 grey, in order, in threads; a broken one is its problem.

    Exactly what the training's image cache holds.
    """
    workers = workers or os.cpu_count() or 1
    yield from in_order(lambda file: _read_square(file, size), files, workers, ahead=2 * BATCH)


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Iterator[Result]:
    """`map` in threads that keeps at most `ahead` results waiting, so that memory is bounded."""
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(workers) as pool:  # OpenCV releases the GIL
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


def _read_square(file: Path | None, size: int) -> np.ndarray | str:
    if file is None:
        return "there is no such image"
    try:
        return square(decode(file.read_bytes()), size)
    except (OSError, BrokenImageError) as error:
        return " ".join(str(error).split())


def _print_progress(items: Iterable[Item], total: int) -> Iterator[Item]:
    """Pass `items` on and print every few seconds how many were passed."""
    start = last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            print(f"{count} of {total} images, {count / (now - start):.1f} a second", flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Predict a folder of chest X-rays.")
    sample = next(KAGGLE.glob("*/sample_submission.csv"), KAGGLE / "sample_submission.csv")
    parser.add_argument("--images", type=Path, default=sample.parent / "test")
    parser.add_argument("--sample", type=Path, default=sample)
    parser.add_argument("--output", type=Path, default=Path("submission.csv"))
    return parser.parse_args(arguments)


def _read_sample(path: Path) -> tuple[list[str], list[str]]:
    """Return the header of sample_submission.csv and its studies, the first column."""
    if not path.is_file():
        sys.exit(f"{path}: no such file; give --sample sample_submission.csv")
    with open(path, encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    return header, [row[0] for row in rows]


def _write_submission(
    path: Path, header: Sequence[str], uids: Sequence[str], values_NL: np.ndarray
) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([uid, *map(str, row)] for uid, row in zip(uids, values_NL, strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    header, uids = _read_sample(options.sample)
    ensemble = OnnxEnsemble(Path(__file__).parent)
    missing = [name for name in header[1:] if name not in ensemble.labels]
    if missing:
        sys.exit(f"{options.sample}: the models do not know {', '.join(missing)}")
    present = {file.stem: file for file in image_files(options.images)}
    files = [present.get(uid) for uid in uids]
    if not any(files):
        sys.exit(f"{options.images}: it has none of the sample's images; give --images")
    values, broken = predict_files(ensemble, files, progress=_print_progress)
    columns = [ensemble.labels.index(name) for name in header[1:]]
    _write_submission(options.output, header, uids, values[:, columns])
    for row, problem in itertools.islice(broken.items(), 10):
        print(f"{uids[row]}: {problem}")
    print(f"{len(uids)} studies, {len(broken)} without a readable image (prevalence given)")


if __name__ == "__main__":
    main()
