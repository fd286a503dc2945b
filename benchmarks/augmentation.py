"""Cost of one training image by each recipe, from the image cache, on one core.

    python benchmarks/augmentation.py

The baseline is seed 1's path: decode the original JPEG in every epoch, then its albumentations.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from ranzcr.data import augmentation

IMAGES = 40
RECIPES = ("none", "warp", "seed1", "seed2")


def main() -> None:
    grain = np.random.default_rng(0).integers(0, 255, (60, 50), np.uint8)
    original = cv2.resize(grain, (2500, 3000), interpolation=cv2.INTER_CUBIC)
    jpeg = cv2.imencode(".jpg", original)[1]
    for size in (512, 1024):
        cached = cv2.resize(original, (size, size), interpolation=cv2.INTER_AREA)
        seed1 = augmentation.make("seed1", size)
        baseline = images_per_second(
            lambda rng, seed1=seed1: seed1((cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE),), None, rng)
        )
        print(f"{size} px, decode + seed1: {baseline:.0f} images/s")
        for recipe in RECIPES:
            augment = augmentation.make(recipe, size)
            speed = images_per_second(
                lambda rng, augment=augment, cached=cached: augment((cached.copy(),), None, rng)
            )
            print(f"{size} px, cache + {recipe}: {speed:.0f} images/s, {speed / baseline:.1f}x")


def images_per_second(make: Callable[[np.random.Generator], object]) -> float:
    make(np.random.default_rng(0))  # imports and first allocations
    start = time.perf_counter()
    for seed in range(IMAGES):
        make(np.random.default_rng(seed))
    return IMAGES / (time.perf_counter() - start)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
