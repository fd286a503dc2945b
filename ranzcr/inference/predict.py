"""Probabilities from trained networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ranzcr.config import Experiment
from ranzcr.cores import limit_torch
from ranzcr.data import augmentation
from ranzcr.models.network import Network
from ranzcr.progress import track

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
    """(n, L) float32 probabilities of `rows` of an image cache, on a GPU where there is one.

    Args:
        images_NSS: uint8, of any size; resized as in validation.
        tta: none, or flip: the mean of the image and its mirror image.
        what: shown with the progress bar.
    """
    limit_torch()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).eval()
    batches = list(_batches(rows, image_size))
    parts = [
        probabilities(network, _images(images_NSS, batch, image_size).to(device), tta).cpu().numpy()
        for batch in track(batches, what)
    ]
    return np.concatenate(parts) if parts else np.empty((0, len(network.schema)), np.float32)


@torch.inference_mode()
def probabilities(network: Network, images: Tensor, tta: str = "none") -> Tensor:
    """(B, 1, S, S) images -> (B, L) float32 probabilities."""
    probability_BL = network(images).float().sigmoid()
    if tta == "flip":
        probability_BL = (probability_BL + network(images.flip(-1)).float().sigmoid()) / 2
    return probability_BL


def final_image_size(experiment: Experiment) -> int:
    """Pixels per side that a trained network expects: those of its last phase."""
    return experiment.training.recipe[-1].image_size or experiment.data.image_size


def _batches(rows: Sequence[int] | np.ndarray, image_size: int) -> Iterator[np.ndarray]:
    length = max(1, min(64, _BATCH_PIXELS // image_size**2))
    for start in range(0, len(rows), length):
        yield np.asarray(rows[start : start + length])


def _images(images_NSS: np.ndarray, rows: np.ndarray, image_size: int) -> Tensor:
    """(B, 1, S, S) uint8."""
    resize = augmentation.make("none", image_size)
    rng = np.random.default_rng(0)  # a plain resize draws nothing from it
    resized = [resize((images_NSS[row],), None, rng)[0][0] for row in rows]
    return torch.from_numpy(np.stack(resized)).unsqueeze(1)
