"""Similarity of X-rays of different patients and of copies, and the cost of the audit.

    python benchmarks/audit.py [COMPETITION_DIR ...]

The similarities bound the threshold `ranzcr.data.twins.LIKENESS`. Without a folder, the audit uses
phantoms.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ranzcr.data import audit, competition, phantom, twins
from ranzcr.data.cache import CachedImage, read_images
from ranzcr.data.dataset import Dataset
from ranzcr.labels import PATIENT, UID, LabelSchema


def _gamma(power: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: (255 * (image / 255) ** power).astype(np.uint8)


def _jpeg(image: np.ndarray) -> np.ndarray:
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE))


def _noise(image: np.ndarray) -> np.ndarray:
    grain = np.random.default_rng(0).normal(0, 8, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _cropped(image: np.ndarray) -> np.ndarray:
    edge = len(image) // 50
    return cv2.resize(image[edge:-edge, edge:-edge], image.shape, interpolation=cv2.INTER_AREA)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG of quality 30": _jpeg,
    "half size": lambda image: cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA),
    "noise of 8 grey levels": _noise,
    "gamma 0.7": _gamma(0.7),
    "gamma 1.5": _gamma(1.5),
    "local equalisation": lambda image: cv2.createCLAHE(2, (8, 8)).apply(image),
    "cropped by 2 %": _cropped,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(argument) for argument in sys.argv[1:]]
        phantoms = Path(scratch) / "phantoms"
        for folder in folders or [phantom.write_competition(phantoms, studies=1000, size=128)]:
            report_likeness(folder)
    report_cost(30_000)


def report_likeness(folder: Path) -> None:
    images, patients = read_train(folder)
    thumbnails = thumbnails_of(images)
    upper = np.triu_indices(len(images), 1)
    pairs = (thumbnails @ thumbnails.T)[upper]
    pairs = pairs[patients[upper[0]] != patients[upper[1]]]
    print(f"{folder}: {len(pairs)} pairs of different patients, likeness:")
    print(f"  99.9 % below {np.quantile(pairs, 0.999):.3f}, highest {np.sort(pairs)[-6:].round(3)}")
    for name, change in CHANGES.items():
        copies = thumbnails_of(list(map(change, images)))
        print(f"  an X-ray and its copy, {name}: from {(copies * thumbnails).sum(1).min():.3f}")


def read_train(folder: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """The train images at 256 px and their patients."""
    studies = competition.read(folder).studies.query("split == 'train'")
    read = read_images([folder / file for file in studies["file"]], 256)
    return [one.pixels for one in read if isinstance(one, CachedImage)], studies[PATIENT].to_numpy()


def thumbnails_of(images: list[np.ndarray]) -> np.ndarray:
    return twins.thumbnails(np.stack(images), np.arange(len(images)))


def report_cost(studies: int) -> None:
    """The audit of that many studies of 64 px, against comparing them study by study."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({UID: np.arange(studies).astype(str), "A": 1, "split": "train"})
    table = table.assign(sha256=table[UID], fold=np.arange(studies) % 5, **{PATIENT: table[UID]})
    images = rng.integers(0, 255, (studies, 64, 64), np.uint8)
    dataset = Dataset(Path("drawn"), LabelSchema(("A",)), table, table, images, "", 5)
    start = time.perf_counter()
    audit.audit(dataset)
    ours = time.perf_counter() - start
    thumbnails, sample = twins.thumbnails(images, np.arange(studies)), range(0, studies, 100)
    start = time.perf_counter()
    for row in sample:
        (thumbnails[row + 1 :] @ thumbnails[row] >= twins.LIKENESS).any()
    singly = (time.perf_counter() - start) * studies / len(sample)
    print(f"{studies} studies: {ours:.1f} s, study by study {singly:.1f} s, {singly / ours:.1f}x")


if __name__ == "__main__":
    main()
