"""Exported ensemble -> offline bundle, run once on the test images as the competition would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ranzcr import predictions
from ranzcr.documents import Ensemble
from ranzcr.errors import DataError
from ranzcr.files import hash_json, replacing
from ranzcr.labels import LabelSchema
from ranzcr.submission import bundle
from ranzcr.submission.validate import validate

# The bundle computes the blend with ONNX Runtime on the CPU instead of torch, which may have used a
# GPU in half precision. Images prepared in another way than for training differ more.
LIMIT = 0.02


@dataclass(frozen=True)
class BundleResult:
    """The bundle at `path`; `submission` if test images were given.

    `max_abs_diff` is the largest difference of a probability from the blend's test predictions;
    None if there was nothing to compare.
    """

    path: Path
    digest: str
    submission: Path | None
    max_abs_diff: float | None


def run(
    ensemble: Path, out: Path, *, competition: Path | None = None, blend: Path | None = None
) -> BundleResult:
    """Write the bundle, run its kernel on the test images and check the submission.

    Args:
        ensemble: output of export.
        competition: its test/ and sample_submission.csv are predicted to out/submission.csv.
        blend: output of blend; its test predictions must agree within LIMIT.

    Raises DataError if the kernel fails, or if the submission is not valid or differs too much.
    """
    out = Path(out)
    schema = LabelSchema(Ensemble.read(ensemble).labels)
    with replacing(out) as beside:
        manifest = bundle.write(beside, ensemble)
        submission, max_abs_diff = None, None
        if competition and _has_test(competition):
            submission, sample = beside / "submission.csv", competition / "sample_submission.csv"
            bundle.run(beside, competition / "test", sample, submission)
            validate(submission, sample)
            max_abs_diff = _compare(submission, blend, schema)
    return BundleResult(
        out, hash_json(manifest), out / "submission.csv" if submission else None, max_abs_diff
    )


def _has_test(competition: Path) -> bool:
    return (competition / "test").is_dir() and (competition / "sample_submission.csv").is_file()


def _compare(submission: Path, blend: Path | None, schema: LabelSchema) -> float | None:
    if blend is None or not (blend / "test.parquet").is_file():
        return None
    difference = bundle.difference(submission, predictions.read(blend / "test.parquet", schema))
    if difference > LIMIT:
        raise DataError(
            f"{blend / 'test.parquet'}: the bundle's predictions differ from it by "
            f"{difference:.3f}, more than {LIMIT}; predict and export the same checkpoints again"
        )
    return difference
