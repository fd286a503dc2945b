"""Exported ensemble, judged at the gates -> a version of the candidates model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ranzcr import predictions
from ranzcr.data import audit
from ranzcr.data.dataset import Dataset
from ranzcr.errors import DataError
from ranzcr.files import write_json
from ranzcr.inference import latency
from ranzcr.registry import gate_rules, judging, registry
from ranzcr.registry.gate_rules import Rules
from ranzcr.stages.evaluate import truth_of
from ranzcr.tracking import context


@dataclass(frozen=True)
class RegisterResult:
    """`gate` is "pass" or "fail", and `why` says what failed, in one line."""

    version: str
    run_id: str
    digest: str
    gate: str
    why: str


def run(
    ensemble: Path, out: Path, *, blend: Path, dataset: Path, rules: Rules | None = None
) -> RegisterResult:
    """Judge an ensemble and register it under the run of its blend, whatever the verdict.

    Args:
        ensemble: output of export.
        out: JSON to write: the result.
        blend: output of blend, which the ensemble was exported from.
        dataset: the prepared data set of both.
        rules: what the gates ask for; the packaged ones where None.

    The same ensemble is registered once; again, it is judged anew, since the champion may be
    another. A waiver that was given still counts where what it covers is found no worse. Raises
    DataError where the three do not belong together, TrackingError where MLflow refuses.
    """
    told = _read(blend / "blend.json", "blend")
    if _read(ensemble / "ensemble.json", "export").get("blend_digest") != told["digest"]:
        raise DataError(f"{ensemble}: was not exported from {blend}; export that blend first")
    rules = rules or gate_rules.load()
    with context.ensemble_run(
        told["weights"],
        dataset_digest=told["dataset_digest"],
        method=told["method"],
        digest=told["digest"],
    ) as journal:
        prepared = Dataset.open(dataset)
        candidate = _measure(ensemble, blend, told, prepared, registry.leaderboard(journal.run_id))
        report = judging.judge(candidate, registry.champion(), truth_of(prepared), rules)
        tags = {
            "blend_digest": told["digest"],
            "dataset_digest": told["dataset_digest"],
            "members": ",".join(name for name, weight in told["weights"].items() if weight > 0),
            "cv_auc": str(told["cv_auc"]),
        }
        made = registry.register(ensemble, blend, journal.run_id, tags, report)
        journal.set_tags({"candidate_version": made.version, "gate": made.report.result})
        journal.log_metrics({"seconds_per_image": candidate.seconds})
    result = RegisterResult(
        made.version, journal.run_id, made.digest, made.report.result, made.report.failures
    )
    write_json(out, asdict(result))
    return result


def _measure(
    ensemble: Path,
    blend: Path,
    told: dict[str, Any],
    prepared: Dataset,
    leaderboard: dict[str, float],
) -> judging.Measurements:
    """All that the gates ask about."""
    audited = audit.audit(prepared)
    return judging.Measurements(
        digest=told["digest"],
        dataset_digest=told["dataset_digest"],
        judged_on=prepared.digest,
        cv_auc_lo=float("nan") if told["cv_auc_lo"] is None else told["cv_auc_lo"],
        oof=predictions.read(blend / "oof.parquet"),
        clean=audited.clean,
        audit=audited.summary,
        parity=judging.parity_of(ensemble),
        seconds=latency.seconds_per_image(ensemble, prepared.images),
        leaderboard=leaderboard,
    )


def _read(path: Path, stage: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{path}: missing or not JSON; make it with ranzcr {stage}") from None
