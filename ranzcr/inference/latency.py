"""The time that an exported ensemble takes for one image."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from ranzcr.inference import runtime

_IMAGES = 20
_SECONDS = 10.0  # no further image is started after that


def seconds_per_image(ensemble: Path, images_NSS: np.ndarray) -> float:
    """Return the median time of ONNX Runtime for one image of the cache, with all models and views.

    Args:
        ensemble: output of export.
        images_NSS: at least one image; decoding is not part of the time.

    Measures up to 20 images within 10 s. The first image warms up; it counts only if it took so
    long that no other was started.
    """
    opened = runtime.load(ensemble)
    durations: list[float] = []
    for number in range(_IMAGES + 1):
        image = images_NSS[number % len(images_NSS)]
        start = time.perf_counter()
        opened.predict(image[None])
        durations.append(time.perf_counter() - start)
        if sum(durations) > _SECONDS:
            break
    return float(np.median(durations[1:] or durations))
