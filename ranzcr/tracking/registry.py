"""The two registered models: training writes candidates, an approver writes production.

ensemble folder -> `register` -> ranzcr-clip-candidates, with its gate report
                -> `promote`  -> ranzcr-clip, alias champion, one line in the ledger
                   `rollback` -> the same for the candidate that was in use before
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

import ranzcr
from ranzcr import predictions
from ranzcr.errors import DataError, TrackingError
from ranzcr.files import hash_folder
from ranzcr.predictions import Predictions
from ranzcr.tracking import journal, ledger, server
from ranzcr.tracking.gates import PASS, GateReport
from ranzcr.tracking.ledger import PRODUCTION, PROMOTE, ROLLBACK
from ranzcr.tracking.runs import Run
from ranzcr.tracking.tables import table, to_text

CANDIDATES = "ranzcr-clip-candidates"
CHAMPION = "champion"
LOADER = "ranzcr.inference.runtime"  # has _load_pyfunc(path of the ensemble folder)
_SERVING = ("numpy", "onnxruntime", "opencv-python-headless", "pandas")
_CANDIDATE_TAGS = ("cv_auc", "gate", "members", "dataset_digest")  # shown of a candidate
_BLEND = "blend"  # where the run of an ensemble keeps its blend folder


@dataclass(frozen=True)
class Champion:
    """The production model in use. `digest` is that of its blend."""

    version: str
    run_id: str
    digest: str
    dataset_digest: str

    def predictions(self) -> Predictions:
        """Its cross-fitted out-of-fold predictions, fetched from the journal."""
        client = server.connect()
        with tempfile.TemporaryDirectory() as folder, server.translated(client.tracking_uri):
            path = client.download_artifacts(self.run_id, f"{_BLEND}/oof.parquet", folder)
            return predictions.read(path)


@dataclass(frozen=True)
class Registration:
    """A version of the candidates model. `digest` is that of the ensemble folder."""

    version: str
    digest: str


@dataclass(frozen=True)
class Promotion:
    """What `promote` or `rollback` did; `changed` is False where the champion stayed."""

    version: str
    previous: str  # "" where there was no champion
    changed: bool


def champion() -> Champion | None:
    """The model in use, None where there is none yet."""
    client = server.connect()
    with server.translated(client.tracking_uri):
        version = _champion_version(client)
    if version is None:
        return None
    return Champion(
        version=str(version.version),
        run_id=version.run_id or "",
        digest=version.tags.get("blend_digest", ""),
        dataset_digest=version.tags.get("dataset_digest", ""),
    )


def register(
    ensemble: Path, blend: Path, run_id: str, tags: Mapping[str, str], report: GateReport
) -> Registration:
    """Make the ensemble folder a version of the candidates model.

    Args:
        ensemble: output of export; becomes an MLflow pyfunc model of the run.
        blend: output of blend; its out-of-fold predictions are what a later candidate must beat.
        run_id: of the ensemble.
        tags: blend_digest, dataset_digest and what else shall be read off the version.
        report: of its gates.

    The same content is registered once: again, its version is returned with the new gate report.
    """
    client = server.connect()
    digest = hash_folder(ensemble)
    told = {**tags, **_gate_tags(report)}
    with server.translated(client.tracking_uri), server.exclusive(client.tracking_uri, "register"):
        known = _candidate_of(client, digest)
        if known is not None:
            for name, value in told.items():
                client.set_model_version_tag(CANDIDATES, known.version, name, value)
            return Registration(str(known.version), digest)
        _ensure_model(client, CANDIDATES)
        source = _log_model(client, ensemble, blend, run_id, f"model-{digest[:12]}")
        made = client.create_model_version(
            CANDIDATES, source, run_id, tags={**told, "digest": digest}
        )
    return Registration(str(made.version), digest)


def promote(version: str, *, who: str, why: str) -> Promotion:
    """Put a candidate in use: copy it to production, move the alias, write the ledger.

    Args:
        version: of the candidates model.
        who: who answers for it.
        why: the reason, for the ledger.

    A candidate that is the champion stays it, and nothing is written. A promotion that was cut off
    is completed. Raises TrackingError for a version that is unknown or did not pass its gates.
    """
    client = server.connect()
    with server.translated(client.tracking_uri), server.exclusive(client.tracking_uri, "promote"):
        candidate = _passed(client, version)
        reigning = _champion_version(client)
        before = str(reigning.version) if reigning else ""
        if reigning is not None and _candidate_number(reigning) == version:
            return Promotion(before, _replaced(client, before), changed=False)
        report = json.loads(candidate.tags["gate_report"])
        told = {"action": PROMOTE, "who": who, "why": why, "gate_report": report}
        return _put_in_use(client, version, reigning, told)


def rollback(*, who: str, why: str) -> Promotion:
    """Put the candidate in use again that was in use before the champion.

    Args:
        who: who answers for it.
        why: the reason, for the ledger.

    It is a promotion of the older candidate: copied to production as a new version, which carries
    the act's ledger entry, then the alias moves. So each act makes one version and one entry, and
    nothing written before is touched. Gates are not asked again: the candidate passed them, and
    the entry repeats the report that it was promoted with.

    Rollbacks in a row go back step by step, they do not toggle: after promotions of A, B and C the
    first gives B, the second A, the third is refused. One that was cut off is completed by the
    next call. Raises TrackingError where no champion is, nothing was before it, or the ledger was
    changed.
    """
    client = server.connect()
    with server.translated(client.tracking_uri), server.exclusive(client.tracking_uri, "promote"):
        reigning = _champion_version(client)
        if reigning is None:
            raise TrackingError(f"{PRODUCTION} has no champion to roll back; promote a candidate")
        ledger.verify(client)
        earlier = ledger.before(ledger.entries(client), str(reigning.version))
        if earlier is None:
            raise TrackingError(
                f"the ledger of {PRODUCTION} has no champion before version {reigning.version}; "
                "promote another candidate instead"
            )
        _candidate(client, earlier.candidate_version)
        told = {"action": ROLLBACK, "who": who, "why": why, "gate_report": earlier.gate_report}
        return _put_in_use(client, earlier.candidate_version, reigning, told)


def verify() -> int:
    """Check the ledger's chain, and that its last entry is of the champion; its length.

    Raises TrackingError for a line that was changed, and for an alias that was moved by hand.
    """
    client = server.connect()
    with server.translated(client.tracking_uri), server.exclusive(client.tracking_uri, "promote"):
        count = ledger.verify(client)
        acts = ledger.entries(client)
        reigning = _champion_version(client)
    told = acts[-1].version if acts else ""
    found = str(reigning.version) if reigning else ""
    if found != told:
        mend = f"set it to version {told}" if told else "remove it"
        raise TrackingError(
            f"alias {CHAMPION} of {PRODUCTION} is at version {found or 'none'}, the last ledger "
            f"entry at version {told or 'none'}: the alias was moved by hand or an act was cut "
            f"off; {mend} in ranzcr ui, or repeat the act"
        )
    return count


def gate_report(version: str) -> GateReport:
    """The gates of a candidate, as they were judged last.

    Raises TrackingError for a version that is unknown or was never judged.
    """
    client = server.connect()
    with server.translated(client.tracking_uri):
        return _report(_candidate(client, version))


def describe(version: str) -> str:
    """A candidate as text: members, CV, data, gates, run, and when it was in production.

    Raises TrackingError for a version that is unknown or was never judged.
    """
    client = server.connect()
    with server.translated(client.tracking_uri):
        candidate = _candidate(client, version)
        report = _report(candidate)
        run_id = candidate.run_id or ""
        blend = client.get_run(run_id).data
        promoted = _production_versions(client, version)
    rows = [
        ["members", journal.members(blend.tags)],
        ["CV [95%]", journal.interval(blend.metrics)],
        ["data set", candidate.tags.get("dataset_digest", "")],
        ["run", run_id],
        [f"as {PRODUCTION}", promoted],
    ]
    gates = [[gate.name, gate.result, gate.text] for gate in report.gates]
    return to_text(
        [
            table(f"{CANDIDATES} {version}", ["what", "value"], rows),
            table(f"gates: {report.result}", ["gate", "verdict", "found"], gates),
        ]
    )


def render() -> str:
    """Both registered models as text, newest version first."""
    client = server.connect()
    with server.translated(client.tracking_uri):
        reigning = _champion_version(client)
        production = [_production_row(version, reigning) for version in _all(client, PRODUCTION)]
        candidates = [
            [str(version.version), *(version.tags.get(tag, "") for tag in _CANDIDATE_TAGS)]
            for version in _all(client, CANDIDATES)
        ]
    if not candidates:
        return "The registry is empty: run a pipeline, or register an ensemble.\n"
    return to_text(
        [
            table(PRODUCTION, ["version", "alias", "candidate", "promoted", "by"], production),
            table(CANDIDATES, ["version", *_CANDIDATE_TAGS], candidates),
        ]
    )


def _all(client: MlflowClient, name: str) -> list[ModelVersion]:
    return sorted(
        ledger.versions(client, name), key=lambda version: int(version.version), reverse=True
    )


def _production_row(version: ModelVersion, reigning: ModelVersion | None) -> list[str]:
    in_use = reigning is not None and version.version == reigning.version
    line = json.loads(version.tags.get(ledger.TAG, "{}"))
    return [
        str(version.version),
        CHAMPION if in_use else "",
        _candidate_number(version),
        line.get("time", ""),
        line.get("who", ""),
    ]


def _gate_tags(report: GateReport) -> dict[str, str]:
    return {"gate": report.result, "gate_report": json.dumps(report.to_json())}


def _candidate_of(client: MlflowClient, digest: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{CANDIDATES}' and tags.digest = '{digest}'")
    return min(found, key=lambda version: int(version.version), default=None)


def _ensure_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log_model(client: MlflowClient, ensemble: Path, blend: Path, run_id: str, place: str) -> str:
    """Log the ensemble as a pyfunc model of the run; where it lies, as MLflow names it."""
    run = Run(client, run_id)
    run.log_artifacts(blend, _BLEND)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*An input example was not provided")
        model = Path(folder) / "model"
        mlflow.pyfunc.save_model(
            str(model),
            loader_module=LOADER,
            data_path=str(ensemble),
            code_paths=[str(Path(ranzcr.__file__).parent)],  # served where ranzcr is not installed
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in _SERVING],
            signature=_signature(_labels(ensemble)),
        )
        run.log_artifacts(model, place)
    return f"{client.get_run(run_id).info.artifact_uri}/{place}"


def _labels(ensemble: Path) -> list[str]:
    path = ensemble / "ensemble.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, KeyError):
        raise DataError(f"{path}: no labels; expected the output of ranzcr export") from None


def _signature(labels: Sequence[str]) -> ModelSignature:
    return ModelSignature(
        inputs=Schema([ColSpec("string", "image")]),
        outputs=Schema([ColSpec("double", label) for label in labels]),
    )


def _candidate(client: MlflowClient, version: str) -> ModelVersion:
    try:
        return client.get_model_version(CANDIDATES, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TrackingError(
            f"{CANDIDATES} has no version {version}; register an ensemble first"
        ) from None


def _report(candidate: ModelVersion) -> GateReport:
    try:
        return GateReport.from_json(json.loads(candidate.tags["gate_report"]))
    except (KeyError, ValueError, TypeError):
        raise TrackingError(
            f"candidate {candidate.version} has no gate report; register its ensemble again"
        ) from None


def _production_versions(client: MlflowClient, version: str) -> str:
    """Which production versions a candidate became by which act, "1 by promote, 4 by rollback"."""
    acts = [act for act in ledger.entries(client) if act.candidate_version == version]
    return ", ".join(f"{act.version} by {act.action}" for act in acts) or "never promoted"


def _passed(client: MlflowClient, version: str) -> ModelVersion:
    """The candidate, where its gates passed."""
    candidate = _candidate(client, version)
    if candidate.tags.get("gate") != PASS:
        stored = json.loads(candidate.tags.get("gate_report", '{"gates": []}'))
        failures = GateReport.from_json(stored).failures or "it has no gate report"
        raise TrackingError(
            f"candidate {version} did not pass its gates ({failures}); not promoted"
        )
    return candidate


def _champion_version(client: MlflowClient) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(PRODUCTION, CHAMPION)
    except MlflowException as error:
        # No such model, or a model without this alias; anything else is trouble.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def _candidate_number(production: ModelVersion) -> str:
    """The version of the candidates model that a production version is a copy of."""
    model, _, number = (production.source or "").removeprefix("models:/").partition("/")
    return number if model == CANDIDATES else ""


def _put_in_use(
    client: MlflowClient, version: str, reigning: ModelVersion | None, told: Mapping
) -> Promotion:
    """Copy a candidate to production, append what is `told` of it to the ledger, move the alias.

    Cut off between two of these steps and called again, it does what is left. The caller holds
    the lock.
    """
    before = str(reigning.version) if reigning else ""
    copy = _unfinished(client, version, reigning, told["action"]) or _copy(client, version)
    if ledger.of(copy) is None:
        versions = {"version": str(copy.version), "previous_version": before}
        ledger.append(client, **told, **versions, candidate_version=version)
    client.set_registered_model_alias(PRODUCTION, CHAMPION, copy.version)
    return Promotion(str(copy.version), before, changed=True)


def _unfinished(
    client: MlflowClient, version: str, reigning: ModelVersion | None, action: str
) -> ModelVersion | None:
    """A copy of the candidate, newer than the champion, that an act of this kind cut off left."""
    newest = client.search_model_versions(
        f"name = '{PRODUCTION}'", max_results=1, order_by=["version_number DESC"]
    )
    after = int(reigning.version) if reigning else 0
    for copy in newest:
        known = ledger.of(copy)
        same = known is None or known.action == action
        if same and int(copy.version) > after and _candidate_number(copy) == version:
            return copy
    return None


def _copy(client: MlflowClient, version: str) -> ModelVersion:
    with contextlib.redirect_stderr(io.StringIO()):  # mlflow tells what the caller will tell
        return client.copy_model_version(f"models:/{CANDIDATES}/{version}", PRODUCTION)


def _replaced(client: MlflowClient, version: str) -> str:
    """What the production version replaced, as the ledger has it."""
    acts = [entry for entry in ledger.entries(client) if entry.version == version]
    return acts[-1].previous_version if acts else ""
