"""Probabilities from trained networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ranzcr.cores import limit_torch
from ranzcr.models.network import Network
from ranzcr.progress import track
from ranzcr.submission import kernel

# Shape suffixes in this file: N rows, B images of a batch, S pixels a side, L labels.
_BATCH_PIXELS = 32 * 512 * 512  # bounds the memory of a batch


def predict(
    network: Network,
    images_NSS: np.ndarray,
    rows: Sequence[int] | np.ndarray,
    *,
    image_size: int,
    tta: str = "none",
    what: str = "Predicting",
) -> np.ndarray:
    """Return (n, L) float32 probabilities of `rows` of an image cache, on a GPU if there is one.

    Args:
        images_NSS: uint8, of any size; resized as in validation.
        tta: none, or flip: the mean of the image and its mirror image.
        what: shown with the progress bar.
    """
    limit_torch()
    network = network.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    length = max(1, min(64, _BATCH_PIXELS // image_size**2))
    parts = [np.empty((0, len(network.schema)), np.float32)]
    for start in track(range(0, len(rows), length), what):
        images = [
            kernel.square(images_NSS[row], image_size) for row in rows[start : start + length]
        ]
        views = kernel.views(np.stack(images), tta)
        parts.append(np.mean([probabilities(network, view) for view in views], axis=0))
    return np.concatenate(parts)


@torch.inference_mode()
def probabilities(network: Network, images_B1SS: np.ndarray) -> np.ndarray:
    """Return (B, L) float32 probabilities of one view of images."""
    device = next(network.parameters()).device
    logits_BL = network(torch.from_numpy(images_B1SS).to(device)).float()
    return np.asarray(logits_BL.sigmoid().cpu())
