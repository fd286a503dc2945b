"""An exported ensemble, run by ONNX Runtime without torch.

`_load_pyfunc` makes MLflow serve it with `loader_module="ranzcr.inference.runtime"`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranzcr.cores import threads
from ranzcr.errors import DataError
from ranzcr.progress import track
from ranzcr.submission import kernel
from ranzcr.submission.kernel import ENSEMBLE, OnnxEnsemble


def load(folder: Path | str) -> OnnxEnsemble:
    """Load an ensemble folder on the CPU. Raises DataError if it is incomplete or damaged."""
    path = Path(folder) / ENSEMBLE
    try:
        return OnnxEnsemble(folder, ["CPUExecutionProvider"], threads())
    except FileNotFoundError:
        raise DataError(f"{folder}: no {ENSEMBLE}; expected what ranzcr export wrote") from None
    except kernel.BrokenModelError as error:
        raise DataError(f"{error}; export again") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: damaged; export the ensemble again") from None


def predict_files(ensemble: OnnxEnsemble, paths: Sequence[Path]) -> np.ndarray:
    """Return (N, L) probabilities of JPEG or PNG files. Raises DataError for a broken one."""

    def refuse_broken(squares: Iterable[Any], total: int) -> Iterator[Any]:
        for path, square in zip(paths, track(squares, "Predicting images", total), strict=True):
            if isinstance(square, str):
                raise DataError(f"{path}: {square}; fix the image or remove it")
            yield square

    return kernel.predict_files(ensemble, paths, progress=refuse_broken)[0]


class EnsembleModel:
    """MLflow's pyfunc: a table with a column `image` -> a table with a column per label.

    An image is a file's content, as bytes or base64; never a path, which a client of the served
    model could point at the server's own files.
    """

    def __init__(self, ensemble: OnnxEnsemble) -> None:
        self.ensemble = ensemble

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        if "image" not in model_input:
            columns = ", ".join(map(str, model_input.columns))
            raise DataError(f"no column image; found {columns or 'nothing'}")
        squares = [
            self._square(_content(value), position)
            for position, value in enumerate(model_input["image"])
        ]
        return pd.DataFrame(self.ensemble.predict(squares), columns=list(self.ensemble.labels))

    def _square(self, content: bytes, position: int) -> np.ndarray:
        try:
            return kernel.square(kernel.decode(content), self.ensemble.cache_size)
        except kernel.BrokenImageError as error:
            raise DataError(f"image {position}: {error}") from None


def _load_pyfunc(path: str) -> EnsembleModel:
    """Load the model; MLflow calls this with the folder that was logged."""
    return EnsembleModel(load(path))


def _content(image: object) -> bytes:
    if isinstance(image, bytes):
        return image
    text = str(image)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raise DataError(f"image {text[:40]!r}: expected a file's bytes or base64") from None
