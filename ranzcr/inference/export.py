"""Export of networks to ONNX files, each compared with torch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from ranzcr.errors import RanzcrError
from ranzcr.inference.predict import probabilities
from ranzcr.models.network import Network
from ranzcr.submission import kernel

# Shape suffixes in this file: B images, S pixels a side, L labels.
LIMIT = 1e-4  # largest difference of a probability between torch and ONNX Runtime
OPSET = 18


class _Served(nn.Module):
    """A network with its sigmoid: grey levels in, probabilities out."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        probability: Tensor = self.network(image).sigmoid()
        return probability


def export(network: Network, path: Path, *, image_size: int) -> None:
    """Write `network` as one ONNX file.

    The input "image" is (B, 1, S, S) float32, 0 to 255, for any B; the output "probability" is
    (B, L) float32.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(2, 1, image_size, image_size)
    with _quiet():
        # The tracing exporter: it needs no onnxscript, and every head and backbone here traces.
        torch.onnx.export(
            _Served(network).eval(),
            (example,),
            str(path),
            input_names=["image"],
            output_names=["probability"],
            dynamic_axes={"image": {0: "batch"}, "probability": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )


def parity(network: Network, path: Path, images_BSS: np.ndarray) -> float:
    """Return the largest difference of a probability between `network` and its ONNX file.

    Args:
        images_BSS: real ones, uint8, at the network's size.

    Raises RanzcrError if it is not below LIMIT.
    """
    (images,) = kernel.views(images_BSS.astype(np.float32), "none")
    expected = probabilities(network.cpu().eval(), images)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (served,) = session.run(["probability"], {"image": images})
    difference = float(np.abs(expected - served).max())
    if not difference < LIMIT:
        raise RanzcrError(
            f"{path.name}: its probabilities differ from torch's by {difference:.1e}, the limit is "
            f"{LIMIT:.0e}; choose another backbone or head for {network.config.backbone}"
        )
    return difference


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
