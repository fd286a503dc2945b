"""How long an exported ensemble takes for one image."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from ranzcr.inference.runtime import EnsembleRuntime

_IMAGES = 20
_SECONDS = 10.0  # no further image is begun after that


def seconds_per_image(ensemble: Path, images_NSS: np.ndarray) -> float:
    """Median time of ONNX Runtime for one image of the cache, all models and views of it.

    Args:
        ensemble: output of export.
        images_NSS: at least one image; decoding is not part of the time.

    Up to 20 images within 10 s. The first warms up, and counts only where it took so long that no
    other was begun.
    """
    runtime = EnsembleRuntime.open(ensemble)
    taken: list[float] = []
    for number in range(_IMAGES + 1):
        image = images_NSS[number % len(images_NSS)]
        begun = time.perf_counter()
        runtime.predict(image[None])
        taken.append(time.perf_counter() - begun)
        if sum(taken) > _SECONDS:
            break
    return float(np.median(taken[1:] or taken))
