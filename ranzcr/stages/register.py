"""Ensemble folder + gate report -> a version of the candidates model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ranzcr.errors import DataError
from ranzcr.files import write_json
from ranzcr.tracking import context, gates, registry
from ranzcr.tracking.gates import GateReport


@dataclass(frozen=True)
class RegisterResult:
    """`gate` is "pass" or "fail", now that the exported models are judged too."""

    version: str
    run_id: str
    digest: str
    gate: str


def run(ensemble: Path, blend: Path, gate_report: Path, out: Path) -> RegisterResult:
    """Register what export made, under the run of its blend.

    Args:
        ensemble: output of export.
        blend: output of blend, which the ensemble was exported from.
        gate_report: JSON that evaluate wrote for this blend.
        out: JSON to write: version, run_id, digest, gate.

    Raises DataError where these do not belong together, TrackingError where MLflow refuses.
    """
    told = _read(blend / "blend.json")
    exported = _read(ensemble / "ensemble.json")
    if exported.get("blend_digest") != told["digest"]:
        raise DataError(f"{ensemble}: was not exported from {blend}; export that blend first")
    report = _report(gate_report).with_gate(gates.parity(ensemble))
    with context.ensemble_run(
        told["weights"],
        dataset_digest=told["dataset_digest"],
        method=told["method"],
        digest=told["digest"],
    ) as journal:
        tags = {
            "blend_digest": told["digest"],
            "dataset_digest": told["dataset_digest"],
            "members": ",".join(told["weights"]),
            "cv_auc": str(told["cv_auc"]),
        }
        made = registry.register(ensemble, blend, journal.run_id, tags, report)
        journal.set_tags({"candidate_version": made.version, "gate": report.result})
    result = RegisterResult(made.version, journal.run_id, made.digest, report.result)
    write_json(out, asdict(result))
    return result


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{path}: no such file, or not JSON; run the stage before again") from None


def _report(path: Path) -> GateReport:
    try:
        return GateReport.from_json(_read(path))
    except (KeyError, TypeError):
        raise DataError(f"{path}: not a gate report; evaluate the blend again") from None
