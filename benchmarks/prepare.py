"""Cost of preparing, and what reduced JPEG decoding would save and lose.

    python benchmarks/prepare.py [COMPETITION_DIR]

Prints images per second of `prepare` on a competition folder, then of decoding 2,800 x 2,400 JPEGs
to the cache size in full against OpenCV's reduced decoding, with the mean difference and the share
of horizontal detail that is kept. Kept: decoding in full, because thin lines are what we look for.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ranzcr.data import phantom
from ranzcr.data.cache import decode
from ranzcr.stages import prepare

REDUCED = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        argument = Path(sys.argv[1]) if len(sys.argv) > 1 else None
        folder = argument or phantom.write_competition(Path(scratch) / "phantoms", studies=200)
        time_prepare(folder, Path(scratch) / "prepared")
        compare_decoding(sorted((folder / "train").iterdir())[:8])


def time_prepare(folder: Path, out: Path) -> None:
    for run in ("first", "second"):
        start = time.perf_counter()
        result = prepare.run(folder, out, size=512, folds=3)
        seconds = time.perf_counter() - start
        images = result.train + result.test + result.external
        print(f"prepare, {run} run: {images} images in {seconds:.2f} s ({images / seconds:.0f}/s)")


def compare_decoding(files: list[Path]) -> None:
    jpegs = [enlarge(file) for file in files]
    for size in (256, 512, 1024):
        full, seconds = timed(lambda jpeg, size=size: decode(jpeg, size)[0], jpegs)
        print(f"{size} px, in full: {1000 * seconds:.1f} ms")
        for divisor, flag in REDUCED.items():
            if 2400 / divisor < size:
                continue
            squares, faster = timed(
                lambda jpeg, size=size, flag=flag: reduced(jpeg, size, flag), jpegs
            )
            print(
                f"{size} px, at 1/{divisor}: {seconds / faster:.2f}x as fast, "
                f"mean difference {np.abs(squares - full).mean():.2f}, "
                f"detail kept {detail(squares) / detail(full):.1%}"
            )


def enlarge(file: Path) -> bytes:
    """An X-ray at the competition's usual size, with film grain."""
    image = cv2.resize(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), (2800, 2400))
    grain = np.random.default_rng(0).normal(0, 4, image.shape)
    grey = np.clip(image + grain, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def reduced(jpeg: bytes, size: int, flag: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flag)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def timed(decoder: Callable[[bytes], np.ndarray], jpegs: list[bytes]) -> tuple[np.ndarray, float]:
    """Return the images as float, and the seconds per image."""
    start = time.perf_counter()
    squares = [decoder(jpeg) for jpeg in jpegs]
    return np.asarray(squares, float), (time.perf_counter() - start) / len(jpegs)


def detail(squares: np.ndarray) -> float:
    return float(np.abs(np.diff(squares, axis=2)).mean())


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
