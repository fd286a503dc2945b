"""Exported ensemble, judged at the gates -> a version of the candidates model."""

from __future__ import annotations

from pathlib import Path

from ranzcr import predictions
from ranzcr.data import audit
from ranzcr.data.dataset import Dataset
from ranzcr.documents import Blend, Candidate, Ensemble, Parity
from ranzcr.errors import DataError
from ranzcr.inference import latency
from ranzcr.registry import gate_rules, judging, registry
from ranzcr.registry.gate_rules import Rules
from ranzcr.registry.judging import Measurements
from ranzcr.stages.evaluate import truth_of
from ranzcr.tracking import context
from ranzcr.tracking.names import Metric, Tag


def run(
    ensemble: Path, out: Path, *, blend: Path, dataset: Path, rules: Rules | None = None
) -> Candidate:
    """Judge an ensemble and register it under the run of its blend, whatever the verdict.

    Args:
        ensemble: output of export.
        out: JSON to write: the result.
        blend: output of blend, which the ensemble was exported from.
        dataset: the prepared data set of both.
        rules: the settings of the gates; the packaged ones if None.

    The same ensemble is registered once; a second call judges it again, since the champion may be
    another one. A waiver still counts if the finding is no worse. Raises DataError if the three do
    not belong together, TrackingError if MLflow refuses.
    """
    document = Blend.read(blend)
    if Ensemble.read(ensemble).blend_digest != document.digest:
        raise DataError(f"{ensemble}: was not exported from {blend}; export that blend first")
    rules = rules or gate_rules.load()
    with context.ensemble_run(
        document.weights,
        dataset_digest=document.dataset_digest,
        method=document.method,
        digest=document.digest,
    ) as journal:
        prepared = Dataset.open(dataset)
        leaderboard = registry.leaderboard(journal.run_id)
        measurements = _measure(ensemble, blend, document, prepared, leaderboard)
        report = judging.judge(measurements, registry.champion(), truth_of(prepared), rules)
        candidate = registry.register(ensemble, blend, journal.run_id, report)
        journal.set_tags({Tag.CANDIDATE_VERSION: candidate.version, Tag.GATE: candidate.gate})
        journal.log_metrics({Metric.SECONDS_PER_IMAGE: measurements.seconds})
    candidate.write(out)
    return candidate


def _measure(
    ensemble: Path,
    blend: Path,
    document: Blend,
    prepared: Dataset,
    leaderboard: dict[str, float],
) -> Measurements:
    """Measure everything that the gates compare."""
    audited = audit.audit(prepared)
    return Measurements(
        digest=document.digest,
        dataset_digest=document.dataset_digest,
        judged_on=prepared.digest,
        cv_auc_lo=float("nan") if document.cv_auc_lo is None else document.cv_auc_lo,
        oof=predictions.read(blend / "oof.parquet"),
        clean=audited.clean,
        audit=audited.summary,
        parity=Parity.read(ensemble).largest,
        seconds=latency.seconds_per_image(ensemble, prepared.images),
        leaderboard=leaderboard,
    )
