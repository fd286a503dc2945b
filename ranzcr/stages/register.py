"""An exported ensemble -> a version of the candidates model, with its gate report."""

from __future__ import annotations

from pathlib import Path

from ranzcr import predictions
from ranzcr.data import audit
from ranzcr.data.dataset import Dataset
from ranzcr.documents import Blend, Candidate, Ensemble, Parity
from ranzcr.errors import DataError
from ranzcr.inference import latency
from ranzcr.registry import gate_rules, judging, registry
from ranzcr.registry.gate_rules import Rules as Rules
from ranzcr.registry.judging import Measurements
from ranzcr.stages.evaluate import truth_of
from ranzcr.tracking import context
from ranzcr.tracking.names import Metric, Tag


def run(
    ensemble: Path, out: Path, *, blend: Path, dataset: Path, rules: Rules | None = None
) -> Candidate:
    """Judge an ensemble at the gates and register it, whatever the verdict.

    Args:
        ensemble: output of export.
        out: JSON to write: the candidate.
        blend: output of blend, from which the ensemble was exported.
        dataset: the prepared data set of both.
        rules: the settings of the gates; None takes the packaged ones.

    The same ensemble is registered once; a second call judges it again, since the champion may be
    another one. A waiver still counts if the finding is not worse. Raises DataError if the three do
    not belong together, TrackingError if MLflow refuses or does not know the run of the blend.
    """
    blended = Blend.read(blend)
    if Ensemble.read(ensemble).blend_digest != blended.digest:
        raise DataError(f"{ensemble}: was not exported from {blend}; export that blend first")
    if blended.run_id is None:
        raise DataError(f"{blend}: names no run of the journal; blend again with ranzcr blend")
    run = context.run_of(blended.run_id)
    prepared = Dataset.open(dataset)
    audited = audit.audit(prepared)
    measurements = Measurements(
        digest=blended.digest,
        dataset_digest=blended.dataset_digest,
        judged_on=prepared.digest,
        cv_auc_lo=float("nan") if blended.cv_auc_lo is None else blended.cv_auc_lo,
        oof=predictions.read(blend / "oof.parquet"),
        clean=audited.clean,
        audit=audited.summary,
        parity=Parity.read(ensemble).largest,
        seconds=latency.seconds_per_image(ensemble, prepared.images),
        leaderboard=registry.leaderboard(run.run_id),
    )
    report = judging.judge(
        measurements, registry.champion(), truth_of(prepared), rules or gate_rules.load()
    )
    candidate = registry.register(ensemble, blend, run.run_id, report)
    run.set_tags({Tag.CANDIDATE_VERSION: candidate.version, Tag.GATE: candidate.gate})
    run.log_metrics({Metric.SECONDS_PER_IMAGE: measurements.seconds})
    candidate.write(out)
    return candidate
