"""Exported ensemble -> offline bundle, run once on the test images as the competition would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranzcr import predictions
from ranzcr.data import competition as competition_folder
from ranzcr.errors import DataError
from ranzcr.files import hash_json, replacing
from ranzcr.labels import LabelSchema
from ranzcr.submission import bundle
from ranzcr.submission.validate import validate

# The bundle computes what the blend computed, with ONNX Runtime on the CPU in place of torch,
# perhaps on a GPU in half precision. Images prepared in another way than in training differ by more.
LIMIT = 0.02


@dataclass(frozen=True)
class BundleResult:
    """The bundle at `path`; `submission` where test images were given.

    `max_abs_diff` is the largest difference of a probability from the blend's test predictions;
    None where there was nothing to compare.
    """

    path: Path
    digest: str
    submission: Path | None
    max_abs_diff: float | None


def run(
    ensemble: Path, out: Path, *, competition: Path | None = None, blend: Path | None = None
) -> BundleResult:
    """Write the bundle, run its kernel on the test images and check what comes out.

    Args:
        ensemble: output of export.
        competition: its test/ and sample_submission.csv are predicted to out/submission.csv.
        blend: output of blend; its test predictions must agree within LIMIT.

    Raises DataError where the kernel fails, the submission is not valid or differs too much.
    """
    out = Path(out)
    labels = bundle.read_ensemble(ensemble)["labels"]
    with replacing(out) as beside:
        prevalence = dict(zip(labels, _prevalence(labels, competition, blend), strict=True))
        manifest = bundle.write(beside, ensemble, prevalence)
        submission, max_abs_diff = None, None
        if competition and _has_test(competition):
            submission = _submit(beside, competition)
            max_abs_diff = _compare(submission, blend, LabelSchema(tuple(labels)))
    made = out / submission.name if submission else None
    return BundleResult(out, hash_json(manifest), made, max_abs_diff)


def _has_test(competition: Path) -> bool:
    return (competition / "test").is_dir() and (competition / "sample_submission.csv").is_file()


def _prevalence(labels: list[str], competition: Path | None, blend: Path | None) -> np.ndarray:
    """Share of positives of each label: from train.csv, else as the blend has it, else one half."""
    if competition and (competition / "train.csv").is_file():
        _, train = competition_folder.read_train(competition / "train.csv")
        return train[labels].to_numpy(float).mean(axis=0)
    if blend:
        oof = predictions.read(blend / "oof.parquet", LabelSchema(tuple(labels)))
        return oof.values.mean(axis=0).astype(float)
    return np.full(len(labels), 0.5)


def _submit(folder: Path, competition: Path) -> Path:
    submission, sample = folder / "submission.csv", competition / "sample_submission.csv"
    bundle.run(folder, competition / "test", sample, submission)
    validate(submission, sample)
    return submission


def _compare(submission: Path, blend: Path | None, schema: LabelSchema) -> float | None:
    if blend is None or not (blend / "test.parquet").is_file():
        return None
    found = bundle.difference(submission, predictions.read(blend / "test.parquet", schema))
    if found > LIMIT:
        raise DataError(
            f"{blend / 'test.parquet'}: the bundle's predictions differ from it by {found:.3f}, "
            f"more than {LIMIT}; predict and export the same checkpoints again"
        )
    return found
