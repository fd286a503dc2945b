"""The candidates model: what training registered, and how each was judged."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

import ranzcr
from ranzcr.errors import DataError, TrackingError, nearest
from ranzcr.files import hash_folder
from ranzcr.registry import ledger
from ranzcr.registry.gates import GateReport
from ranzcr.registry.ledger import PRODUCTION
from ranzcr.registry.sealed import seal, unseal
from ranzcr.tracking import server
from ranzcr.tracking.runs import Run

CANDIDATES = "ranzcr-clip-candidates"
CHAMPION = "champion"  # of the production model: the version in use
CHALLENGER = "challenger"  # of the candidates model: whose promotion was asked for last
BLEND = "blend"  # where the run of an ensemble keeps its blend folder
LOADER = "ranzcr.inference.runtime"  # has _load_pyfunc(path of the ensemble folder)
REPORT, REQUEST = "gate_report", "request"  # tags
_SERVING = ("joblib", "numpy", "onnxruntime", "opencv-python-headless", "pandas")
_MODEL = ("digest", "blend_digest", "dataset_digest", "members", "cv_auc")


@dataclass(frozen=True, kw_only=True)
class Request:
    """That somebody asked for a candidate's promotion where others approve."""

    who: str
    when: str  # ISO 8601, UTC
    why: str


@dataclass(frozen=True)
class CandidateVersion:
    """A version of the candidates model, as its tags tell."""

    found: ModelVersion

    @property
    def version(self) -> str:
        return str(self.found.version)

    @property
    def model(self) -> dict[str, str]:
        """The tags that say what it is; a production version carries the same."""
        return {tag: self.found.tags[tag] for tag in _MODEL if tag in self.found.tags}

    @property
    def digest(self) -> str:
        """Of the ensemble folder."""
        return self.found.tags.get("digest", "")

    @property
    def registered_by(self) -> str:
        return self.judged.get("registered_by", "")

    @property
    def judged(self) -> dict[str, Any]:
        """Its gate report with who registered it and when, as stored.

        Raises TrackingError where there is none, or it was changed.
        """
        stored = unseal(self.found.tags.get(REPORT))
        if stored is None:
            what = "was changed by hand" if REPORT in self.found.tags else "is missing"
            raise TrackingError(
                f"gate report of candidate {self.version} {what}; register its ensemble again"
            )
        return stored

    @property
    def report(self) -> GateReport:
        """As it was judged. A waiver is no trainer's to give, so none counts that stands here."""
        stored = self.judged
        return GateReport.from_json(
            {"gates": [{**gate, "waiver": None} for gate in stored["gates"]]}
        )

    @property
    def request(self) -> Request | None:
        stored = unseal(self.found.tags.get(REQUEST))
        return Request(**stored) if stored else None

    @property
    def people(self) -> set[str]:
        """Who registered it, judged it last and asked for its promotion: none of them approves."""
        asked = self.request.who if self.request else ""
        return {self.registered_by, self.judged.get("judged_by", ""), asked} - {""}


def register(
    client: MlflowClient,
    ensemble: Path,
    blend: Path,
    run_id: str,
    tags: Mapping[str, str],
    report: GateReport,
    who: str,
) -> CandidateVersion:
    """Make the ensemble folder a version of the candidates model; see registry.register."""
    digest = hash_folder(ensemble)
    known = _of_content(client, digest)
    first = known.tags.get("registered_by", who) if known else who
    people = {"registered_by": first, "judged_by": who, "judged": ledger.now()}
    told = {**tags, "gate": report.result, REPORT: seal({**report.to_json(), **people})}
    if known is not None:
        for name, value in told.items():
            client.set_model_version_tag(CANDIDATES, known.version, name, value)
        return find(client, str(known.version))
    ensure_model(client, CANDIDATES)
    source = _log_model(client, ensemble, blend, run_id, f"model-{digest[:12]}")
    told |= {"digest": digest, "registered_by": first}
    server.create_once(
        lambda: _of_content(client, digest),
        lambda: client.create_model_version(CANDIDATES, source, run_id, tags=told),
    )
    # Of two that registered the same at once on a server, both go on with the first.
    made = _of_content(client, digest)
    assert made is not None
    return find(client, str(made.version))


def find(client: MlflowClient, word: str) -> CandidateVersion:
    """A candidate by its version, or by an alias: champion or challenger.

    Raises TrackingError that names what is known.
    """
    word = word.strip()
    if not word.isdigit():
        return _by_alias(client, word)
    try:
        return CandidateVersion(client.get_model_version(CANDIDATES, word))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    known = [str(version.version) for version in newest_first(client, CANDIDATES)]
    advice = f"known: {', '.join(known[:20])}" if known else "register an ensemble first"
    raise TrackingError(f"{CANDIDATES} has no version {word}; {advice}")


def request(client: MlflowClient, candidate: CandidateVersion, who: str, why: str) -> Request:
    """Ask for a promotion that others approve."""
    asked = Request(who=who, when=ledger.now(), why=why)
    told = seal(asdict(asked))
    client.set_model_version_tag(CANDIDATES, candidate.version, REQUEST, told)
    client.set_registered_model_alias(CANDIDATES, CHALLENGER, candidate.version)
    return asked


def by_alias(client: MlflowClient, model: str, alias: str) -> ModelVersion | None:
    """The version that an alias stands at; None for no such model, or a model without it."""
    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def ensure_model(client: MlflowClient, name: str) -> None:
    """Make a registered model where there is none."""

    def look() -> object | None:
        return next(iter(client.search_registered_models(f"name = '{name}'")), None)

    try:
        server.create_once(look, lambda: client.create_registered_model(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
            raise


def newest_first(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions of a registered model."""
    return sorted(
        ledger.versions(client, name), key=lambda version: int(version.version), reverse=True
    )


def candidate_number(production: ModelVersion) -> str:
    """The candidate that a production version is a copy of, "" where its line does not tell."""
    entry = ledger.parse(production.tags.get(ledger.TAG))
    return entry.candidate_version if entry else ""


def _by_alias(client: MlflowClient, alias: str) -> CandidateVersion:
    if alias == CHALLENGER:
        found = by_alias(client, CANDIDATES, CHALLENGER)
        if found is None:
            raise TrackingError(f"{CANDIDATES} has no {CHALLENGER}: no promotion was asked for")
        return CandidateVersion(found)
    if alias != CHAMPION:
        known = (CHAMPION, CHALLENGER)
        raise TrackingError(f"no version or alias {alias!r}; {nearest(alias, known)}")
    found = by_alias(client, PRODUCTION, CHAMPION)
    number = candidate_number(found) if found else ""
    if not number:
        raise TrackingError(f"{PRODUCTION} has no champion of a known candidate; promote one")
    return find(client, number)


def _of_content(client: MlflowClient, digest: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{CANDIDATES}' and tags.digest = '{digest}'")
    return min(found, key=lambda version: int(version.version), default=None)


def _log_model(client: MlflowClient, ensemble: Path, blend: Path, run_id: str, place: str) -> str:
    """Log the ensemble as a pyfunc model of the run; where it lies, as MLflow names it."""
    run = Run(client, run_id)
    run.log_artifacts(blend, BLEND)
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
