"""Contracts between stages: one frozen class per file, beside the tables and models.

    metrics.json      CheckpointMetrics      train  -> predict, export
    evaluation.json   Evaluation             evaluate
    blend.json        Blend                  blend  -> export, register, monitor
    soft_labels.json  SoftLabelsDescription  pseudo -> plan, train
    ensemble.json     Ensemble               export -> register, bundle, predict, serving
    parity.json       Parity                 export -> register
    (any name).json   Candidate              register, fetch -> promote, monitor
    skipped.csv       SkippedImages          prepare

"No value" is None, JSON's null: NaN and "" become None when a document is created or read. Unknown
keys are ignored, and a key that has a default may be missing in older files.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    RootModel,
    ValidationError,
)

from ranzcr.errors import DataError
from ranzcr.files import replacing, write_json
from ranzcr.labels import UID

Number = Annotated[
    float | None,
    AfterValidator(lambda value: None if value is None or math.isnan(value) else value),
]
Text = Annotated[str | None, BeforeValidator(lambda value: None if value == "" else value)]


def check_dataset(path: Path | str, found: str | None, expected: str | None, stage: str) -> None:
    """Raise DataError if `path` was made from another data set than `expected`.

    An unknown digest is not compared. `stage` is the stage that makes such a file.
    """
    if found and expected and found != expected:
        raise DataError(
            f"{path}: made from data set {found[:12]}, expected {expected[:12]}; "
            f"run ranzcr {stage} with this data set"
        )


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Document(_Frozen):
    """A JSON file that a stage writes."""

    FILE: ClassVar[str] = ""  # its name in the stage's output folder
    STAGE: ClassVar[str]  # the stage that writes it

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a file, or the file of this kind in a folder.

        Raises DataError if it is missing or damaged.
        """
        path = cls._file(path)
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:  # pydantic's ValidationError is a ValueError
            raise _unreadable(path, cls.STAGE, error) from None

    def write(self, path: Path | str) -> None:
        """Write a file, or the file of this kind into a folder."""
        write_json(self._file(path), self.to_json())

    def to_json(self) -> Any:
        return self.model_dump(mode="json")

    @classmethod
    def _file(cls, path: Path | str) -> Path:
        path = Path(path)
        return path / cls.FILE if cls.FILE and path.name != cls.FILE else path


class EpochEntry(_Frozen):
    """One epoch of a training's history."""

    epoch: int
    phase: str
    loss: Number = None
    val_loss: Number = None
    val_auc: Number = None
    lr: Number = None


class CheckpointMetrics(Document):
    """The scores and settings of one trained fold."""

    FILE: ClassVar[str] = "metrics.json"
    STAGE: ClassVar[str] = "train"

    experiment: str
    fold: int
    seed: int = 0
    labels: tuple[str, ...]
    dataset_digest: str
    image_size: int  # pixels per side that the network expects
    cache_size: int  # pixels per side to which images are decoded
    prevalence: tuple[float, ...]  # of each label, in training
    channels: int = 1
    valid_auc: Number = None
    epochs: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    run_id: Text = None
    history: tuple[EpochEntry, ...] = ()
    auc: dict[str, Number] = {}


class Scores(_Frozen):
    """Macro AUC of out-of-fold predictions, its 95% interval by patients, and each label's AUC."""

    cv_auc: Number
    cv_auc_lo: Number
    cv_auc_hi: Number
    auc: dict[str, Number] = {}


class ExperimentScores(Scores):
    """The scores of one experiment, with the spread over its folds."""

    cv_auc_folds_mean: Number
    cv_auc_folds_std: Number


class Evaluation(RootModel[dict[str, ExperimentScores]], Document):
    """The scores of each experiment by its name."""

    model_config = ConfigDict(frozen=True)
    FILE: ClassVar[str] = "evaluation.json"
    STAGE: ClassVar[str] = "evaluate"


class DatasetProfile(_Frozen):
    """A data set's train studies, as far as drift is measured."""

    studies: int
    prevalence: dict[str, float]  # share of positives, by label
    pixels: tuple[float, ...]  # share of the grey values in each of 32 bins


class Blend(Scores, Document):
    """A weighted mean of experiments with its cross-fitted scores."""

    FILE: ClassVar[str] = "blend.json"
    STAGE: ClassVar[str] = "blend"

    method: str
    weights: dict[str, float]  # of each experiment; they sum to 1
    members: tuple[str, ...]
    member_cv: dict[str, Number] = {}  # macro AUC of each member
    dataset_digest: str
    digest: str  # of the scores, the weights and the predictions
    profile: DatasetProfile | None = None  # of the data set
    run_id: Text = None  # of MLflow

    @property
    def used_weights(self) -> dict[str, float]:
        """The members that count, with their weights."""
        return {name: weight for name, weight in self.weights.items() if weight > 0}


class EnsembleMember(_Frozen):
    """The exported fold models of one experiment."""

    experiment: str
    weight: float
    image_size: int  # pixels per side that the models expect
    tta: str  # none or flip
    models: tuple[str, ...]  # ONNX files below the ensemble folder


class Ensemble(Document):
    """An exported blend. Order and form of its JSON decide the digest of the folder."""

    FILE: ClassVar[str] = "ensemble.json"
    STAGE: ClassVar[str] = "export"

    labels: tuple[str, ...]
    members: tuple[EnsembleMember, ...]
    cache_size: int  # pixels per side to which images are decoded
    prevalence: tuple[float, ...]  # of each label, in training
    dataset_digest: Text = None
    blend_digest: Text = None
    method: Text = None


class Parity(Document):
    """Difference of the exported models from torch."""

    FILE: ClassVar[str] = "parity.json"
    STAGE: ClassVar[str] = "export"

    max_abs_diff: dict[str, float] | float  # of a probability, by model; older exports: of all
    limit: float | None = None

    @property
    def largest(self) -> float:
        differences = self.max_abs_diff
        return max(differences.values()) if isinstance(differences, dict) else differences


class Candidate(Document):
    """A registered candidate: `gate` is "pass" or "fail"; `why` names the failed gates."""

    STAGE: ClassVar[str] = "register"

    version: str
    run_id: str  # of its ensemble
    digest: str  # of its ensemble folder
    gate: str
    why: str


class SoftLabelsDescription(Document):
    """The content of soft_labels.parquet."""

    FILE: ClassVar[str] = "soft_labels.json"
    STAGE: ClassVar[str] = "pseudo"

    labels: tuple[str, ...]
    dataset_digest: str
    teachers: tuple[str, ...]
    counts: dict[str, int] = {}  # studies by split
    digest: str


class SkippedImage(_Frozen):
    """An image that was left out of a data set; `file` is "" if there is none."""

    uid: str
    file: str
    problem: str


class SkippedImages(_Frozen):
    """The bad images that prepare left out, as CSV."""

    FILE: ClassVar[str] = "skipped.csv"
    STAGE: ClassVar[str] = "prepare"
    COLUMNS: ClassVar[tuple[str, ...]] = (UID, "file", "problem")

    images: tuple[SkippedImage, ...]

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read skipped.csv. Raises DataError if it is missing or damaged."""
        try:
            with open(path, encoding="utf-8", newline="") as file:
                rows = [[row[column] for column in cls.COLUMNS] for row in csv.DictReader(file)]
            images = [SkippedImage(uid=uid, file=name, problem=why) for uid, name, why in rows]
        except (OSError, KeyError, ValueError) as error:
            raise _unreadable(Path(path), cls.STAGE, error) from None
        return cls(images=tuple(images))

    def write(self, path: Path | str) -> None:
        with replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.COLUMNS)
            writer.writerows([image.uid, image.file, image.problem] for image in self.images)


def _unreadable(path: Path, stage: str, error: Exception) -> DataError:
    reason = ""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        reason = f" ({key + ': ' if key else ''}{first['msg'].lower()})"
    return DataError(f"{path}: missing or damaged{reason}; make it with ranzcr {stage}")
