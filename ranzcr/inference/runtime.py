"""An exported ensemble, run by ONNX Runtime: numpy, OpenCV and pandas, no torch.

`_load_pyfunc` makes MLflow serve it with `loader_module="ranzcr.inference.runtime"`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd

from ranzcr.cores import threads
from ranzcr.data import augmentation, cache
from ranzcr.errors import DataError

# Shape suffixes in this file: N images, S pixels a side, L labels.
ENSEMBLE = "ensemble.json"
_BATCH = 16  # images in memory at a time


@dataclass(frozen=True)
class Member:
    """The fold models of one experiment."""

    experiment: str
    weight: float
    image_size: int
    flip: bool  # test-time augmentation: the mean of an image and its mirror image
    sessions: tuple[onnxruntime.InferenceSession, ...]

    def predict(self, images_NSS: np.ndarray) -> np.ndarray:
        """Mean over the fold models, (N, L), of cached images of any size."""
        resize = augmentation.make("none", self.image_size)
        rng = np.random.default_rng(0)  # a plain resize draws nothing from it
        resized = [resize((image,), None, rng)[0][0] for image in images_NSS]
        images = np.stack(resized)[:, None].astype(np.float32)
        views = [images, np.ascontiguousarray(images[..., ::-1])] if self.flip else [images]
        runs = [
            session.run(["probability"], {"image": view})[0]
            for session in self.sessions
            for view in views
        ]
        return np.mean(runs, axis=0)


@dataclass(frozen=True)
class EnsembleRuntime:
    """What `ranzcr export` wrote, ready to predict."""

    labels: tuple[str, ...]
    cache_size: int  # pixels per side to which images are decoded, as in training
    members: tuple[Member, ...]

    @classmethod
    def open(cls, folder: Path | str) -> EnsembleRuntime:
        """Load an ensemble folder. Raises DataError where it is incomplete or damaged."""
        folder = Path(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        try:
            described = json.loads((folder / ENSEMBLE).read_text(encoding="utf-8"))
            members = tuple(_member(folder, entry, options) for entry in described["members"])
            return cls(tuple(described["labels"]), described["cache_size"], members)
        except FileNotFoundError:
            raise DataError(f"{folder}: no {ENSEMBLE}; expected what ranzcr export wrote") from None
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{folder / ENSEMBLE}: damaged; export the ensemble again") from None

    def predict(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """(N, L) float32 probabilities of uint8 images as the data set's cache holds them.

        Args:
            images: N squares of `cache_size` pixels.
        """
        probability_NL = np.zeros((len(images), len(self.labels)), np.float32)
        for start in range(0, len(images), _BATCH):
            part = np.asarray(images[start : start + _BATCH])
            for member in self.members:
                probability_NL[start : start + _BATCH] += member.weight * member.predict(part)
        return probability_NL

    def predict_files(self, paths: Sequence[Path | str]) -> np.ndarray:
        """(N, L) probabilities of JPEG or PNG files. Raises DataError for a bad one."""
        files = [Path(path) for path in paths]
        return self._predict_decoded(self._decode(file.read_bytes(), str(file)) for file in files)

    def predict_bytes(self, contents: Sequence[bytes]) -> np.ndarray:
        """(N, L) probabilities of the contents of image files. Raises DataError for a bad one."""
        return self._predict_decoded(
            self._decode(content, f"image {position}") for position, content in enumerate(contents)
        )

    def _decode(self, content: bytes, name: str) -> np.ndarray:
        try:
            return cache.decode(content, self.cache_size)[0]
        except ValueError as error:
            raise DataError(f"{name}: {error}") from None

    def _predict_decoded(self, images: Iterator[np.ndarray]) -> np.ndarray:
        """A batch at a time, so that memory does not grow with N."""
        parts, batch = [np.empty((0, len(self.labels)), np.float32)], []
        for image in images:
            batch.append(image)
            if len(batch) == _BATCH:
                parts.append(self.predict(batch))
                batch = []
        return np.concatenate([*parts, self.predict(batch)])


def _member(folder: Path, entry: dict[str, Any], options: Any) -> Member:
    sessions = []
    for name in entry["models"]:
        try:
            session = onnxruntime.InferenceSession(
                folder / name, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common ancestor
            problem = str(error).splitlines()[0]
            raise DataError(
                f"{folder / name}: cannot be loaded ({problem}); export again"
            ) from None
        sessions.append(session)
    return Member(
        entry["experiment"],
        entry["weight"],
        entry["image_size"],
        entry["tta"] == "flip",
        tuple(sessions),
    )


class EnsembleModel:
    """MLflow's pyfunc: a table with a column `image` -> a table with a column per label.

    An image is a file's content, as bytes or base64; never a path, which a client of the served
    model could point at the server's own files.
    """

    def __init__(self, runtime: EnsembleRuntime) -> None:
        self.runtime = runtime

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        if "image" not in model_input:
            found = ", ".join(map(str, model_input.columns))
            raise DataError(f"no column image; found {found or 'nothing'}")
        contents = [_content(value) for value in model_input["image"]]
        probability_NL = self.runtime.predict_bytes(contents)
        return pd.DataFrame(probability_NL, columns=list(self.runtime.labels))


def _load_pyfunc(path: str) -> EnsembleModel:
    """Called by MLflow with the folder that was logged."""
    return EnsembleModel(EnsembleRuntime.open(path))


def _content(image: object) -> bytes:
    if isinstance(image, bytes):
        return image
    text = str(image)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raise DataError(f"image {text[:40]!r}: expected a file's bytes or base64") from None
