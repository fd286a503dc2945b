"""Exported ensemble, judged at the gates -> a version of the candidates model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ranzcr import predictions
from ranzcr.data.dataset import Dataset
from ranzcr.errors import DataError
from ranzcr.files import write_json
from ranzcr.stages.evaluate import truth_of
from ranzcr.tracking import context, gates, registry
from ranzcr.tracking.gates import GateReport


@dataclass(frozen=True)
class RegisterResult:
    """`gate` is "pass" or "fail", and `why` says what failed, in one line."""

    version: str
    run_id: str
    digest: str
    gate: str
    why: str


def run(
    ensemble: Path, out: Path, *, blend: Path, dataset: Path, min_auc: float = 0.5
) -> RegisterResult:
    """Judge an ensemble and register it under the run of its blend, whatever the verdict.

    Args:
        ensemble: output of export.
        out: JSON to write: the result.
        blend: output of blend, which the ensemble was exported from.
        dataset: the prepared data set of both.
        min_auc: what the lower end of the blend's 95% interval must reach.

    The same ensemble is registered once; again, it is judged anew, since the champion may be
    another. Raises DataError where the three do not belong together, TrackingError where MLflow
    refuses.
    """
    told = _read(blend / "blend.json", "blend")
    if _read(ensemble / "ensemble.json", "export").get("blend_digest") != told["digest"]:
        raise DataError(f"{ensemble}: was not exported from {blend}; export that blend first")
    report = _judge(blend, told, Dataset.open(dataset), min_auc).with_gate(gates.parity(ensemble))
    with context.ensemble_run(
        told["weights"],
        dataset_digest=told["dataset_digest"],
        method=told["method"],
        digest=told["digest"],
    ) as journal:
        tags = {
            "blend_digest": told["digest"],
            "dataset_digest": told["dataset_digest"],
            "members": ",".join(name for name, weight in told["weights"].items() if weight > 0),
            "cv_auc": str(told["cv_auc"]),
        }
        made = registry.register(ensemble, blend, journal.run_id, tags, report)
        journal.set_tags({"candidate_version": made.version, "gate": report.result})
    result = RegisterResult(
        made.version, journal.run_id, made.digest, report.result, report.failures
    )
    write_json(out, asdict(result))
    return result


def _judge(blend: Path, told: dict[str, Any], prepared: Dataset, min_auc: float) -> GateReport:
    """Honest CV, the right data, better than the champion."""
    truth = truth_of(prepared)
    candidate = gates.Candidate(
        digest=told["digest"],
        dataset_digest=told["dataset_digest"],
        cv_auc_lo=float("nan") if told["cv_auc_lo"] is None else told["cv_auc_lo"],
        oof=predictions.read(blend / "oof.parquet"),
    )
    known = gates.Truth(
        dataset_digest=prepared.digest,
        uids=truth.uids,
        targets=truth.targets,
        patients=truth.groups,
    )
    return gates.judge(candidate, registry.champion(), known, gates.Limits(min_auc_lo=min_auc))


def _read(path: Path, stage: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{path}: missing or not JSON; make it with ranzcr {stage}") from None
