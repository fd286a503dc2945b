"""The candidates model: what training registered, and how each version was judged."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow.artifacts
import mlflow.pyfunc
import yaml
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

import ranzcr
from ranzcr import competitions
from ranzcr.documents import Blend, Ensemble
from ranzcr.errors import TrackingError, nearest
from ranzcr.files import hash_folder
from ranzcr.registry import ledger
from ranzcr.registry.gates import GateReport
from ranzcr.registry.ledger import PRODUCTION
from ranzcr.registry.sealed import seal, unseal
from ranzcr.tracking import server
from ranzcr.tracking.names import Tag
from ranzcr.tracking.runs import Run

CANDIDATES = competitions.current().candidates
CHAMPION = "champion"  # alias of the production model: the version in use
CHALLENGER = "challenger"  # alias of the candidates model: the last requested promotion
BLEND = "blend"  # artifact folder of an ensemble's run that holds its blend
LOADER = "ranzcr.inference.runtime"  # has _load_pyfunc(path of the ensemble folder)
_SERVING = ("joblib", "numpy", "onnxruntime", "opencv-python-headless", "pandas")
_MODEL = (Tag.DIGEST, Tag.BLEND_DIGEST, Tag.DATASET_DIGEST, Tag.MEMBERS, Tag.CV_AUC)


@dataclass(frozen=True, kw_only=True)
class Request:
    """Somebody's request to promote a candidate, where others approve."""

    who: str
    when: str  # ISO 8601, UTC
    why: str


@dataclass(frozen=True)
class CandidateVersion:
    """A version of the candidates model, read from its tags."""

    model_version: ModelVersion

    @property
    def version(self) -> str:
        return str(self.model_version.version)

    @property
    def run_id(self) -> str:
        """The run of its ensemble."""
        return self.model_version.run_id or ""

    @property
    def tags(self) -> dict[str, str]:
        return self.model_version.tags

    @property
    def model(self) -> dict[str, str]:
        """The tags that describe the model; a production version carries the same."""
        return {tag: self.tags[tag] for tag in _MODEL if tag in self.tags}

    @property
    def digest(self) -> str:
        """The digest of the ensemble folder."""
        return self.tags.get(Tag.DIGEST, "")

    @property
    def registered_by(self) -> str:
        return str(self.judgement.get("registered_by", ""))

    @property
    def judgement(self) -> dict[str, Any]:
        """The stored gate report, with who registered the candidate, who judged it and when.

        Raises TrackingError if it is missing or was changed.
        """
        stored = unseal(self.tags.get(Tag.GATE_REPORT))
        if stored is None:
            problem = "was changed by hand" if Tag.GATE_REPORT in self.tags else "is missing"
            raise TrackingError(
                f"gate report of candidate {self.version} {problem}; register its ensemble again"
            )
        return stored

    @property
    def report(self) -> GateReport:
        """The gate report without waivers: a trainer can write this tag, and may not waive."""
        gates = [{**gate, "waiver": None} for gate in self.judgement["gates"]]
        return GateReport.from_json({"gates": gates})

    @property
    def request(self) -> Request | None:
        stored = unseal(self.tags.get(Tag.REQUEST))
        return Request(**stored) if stored else None

    @property
    def people(self) -> set[str]:
        """People who registered, last judged or requested it, and so may not approve it."""
        requested_by = self.request.who if self.request else ""
        return {self.registered_by, self.judgement.get("judged_by", ""), requested_by} - {""}


def register(
    client: MlflowClient, ensemble: Path, blend: Path, run_id: str, report: GateReport, who: str
) -> CandidateVersion:
    """Make the ensemble folder a version of the candidates model; see registry.register."""
    digest = hash_folder(ensemble)
    existing = _of_content(client, digest)
    registered_by = existing.tags.get(Tag.REGISTERED_BY, who) if existing else who
    people = {"registered_by": registered_by, "judged_by": who, "judged": ledger.now()}
    document = Blend.read(blend)
    tags = {
        Tag.BLEND_DIGEST: document.digest,
        Tag.DATASET_DIGEST: document.dataset_digest,
        Tag.MEMBERS: ",".join(document.used_weights),
        Tag.CV_AUC: str(document.cv_auc),
        Tag.GATE: report.result,
        Tag.GATE_REPORT: seal({**report.to_json(), **people}),
    }
    if existing is not None:
        for name, value in tags.items():
            client.set_model_version_tag(CANDIDATES, existing.version, name, value)
        return find(client, str(existing.version))
    ensure_model(client, CANDIDATES)
    source = _log_model(client, ensemble, blend, run_id, f"model-{digest[:12]}")
    tags |= {Tag.DIGEST: digest, Tag.REGISTERED_BY: registered_by}
    server.create_once(
        lambda: _of_content(client, digest),
        lambda: client.create_model_version(CANDIDATES, source, run_id, tags=tags),
    )
    # If two processes registered the same content at once on a server, both use the first version.
    created = _of_content(client, digest)
    assert created is not None
    return find(client, str(created.version))


def find(client: MlflowClient, word: str) -> CandidateVersion:
    """Return a candidate by its version, or by an alias: champion or challenger.

    Raises TrackingError, which lists the existing versions.
    """
    word = word.strip()
    if not word.isdigit():
        return _find_alias(client, word)
    try:
        return CandidateVersion(client.get_model_version(CANDIDATES, word))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    known = [str(version.version) for version in newest_first(client, CANDIDATES)]
    advice = f"known: {', '.join(known[:20])}" if known else "register an ensemble first"
    raise TrackingError(f"{CANDIDATES} has no version {word}; {advice}")


def request(client: MlflowClient, candidate: CandidateVersion, who: str, why: str) -> None:
    """Request a promotion that others approve."""
    text = seal(asdict(Request(who=who, when=ledger.now(), why=why)))
    client.set_model_version_tag(CANDIDATES, candidate.version, Tag.REQUEST, text)
    client.set_registered_model_alias(CANDIDATES, CHALLENGER, candidate.version)


def by_alias(client: MlflowClient, model: str, alias: str) -> ModelVersion | None:
    """Return the version at an alias, None if the model or its alias does not exist."""
    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None


def ensure_model(client: MlflowClient, name: str) -> None:
    """Create a registered model if it does not exist."""

    def look() -> object | None:
        return next(iter(client.search_registered_models(f"name = '{name}'")), None)

    try:
        server.create_once(look, lambda: client.create_registered_model(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
            raise


def newest_first(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Return all versions of a registered model."""
    return sorted(ledger.versions(client, name), key=_number, reverse=True)


def candidate_number(production: ModelVersion) -> str:
    """Return the candidate that a production version is a copy of, "" if its line has none."""
    line = ledger.parse(production.tags.get(Tag.LEDGER))
    return line.candidate_version if line else ""


def download(client: MlflowClient, name: str, version: str, folder: Path) -> Path:
    """Download a version's model below `folder`; return the ensemble folder in it."""
    uri = client.tracking_uri
    source = client.get_model_version_download_uri(name, version)
    model = Path(
        mlflow.artifacts.download_artifacts(
            source, dst_path=str(folder), tracking_uri=uri, registry_uri=uri
        )
    )
    description = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))
    return model / str(description["flavors"]["python_function"]["data"])


def _find_alias(client: MlflowClient, alias: str) -> CandidateVersion:
    if alias == CHALLENGER:
        challenger = by_alias(client, CANDIDATES, CHALLENGER)
        if challenger is None:
            raise TrackingError(f"{CANDIDATES} has no {CHALLENGER}: no promotion was requested")
        return CandidateVersion(challenger)
    if alias != CHAMPION:
        advice = nearest(alias, (CHAMPION, CHALLENGER))
        raise TrackingError(f"no version or alias {alias!r}; {advice}")
    champion = by_alias(client, PRODUCTION, CHAMPION)
    number = candidate_number(champion) if champion else ""
    if not number:
        raise TrackingError(f"{PRODUCTION} has no champion of a known candidate; promote one")
    return find(client, number)


def _of_content(client: MlflowClient, digest: str) -> ModelVersion | None:
    versions = client.search_model_versions(f"name = '{CANDIDATES}' and tags.digest = '{digest}'")
    return min(versions, key=_number, default=None)


def _number(version: ModelVersion) -> int:
    return int(version.version)


def _log_model(client: MlflowClient, ensemble: Path, blend: Path, run_id: str, path: str) -> str:
    """Log the ensemble as a pyfunc model of the run; return its URI."""
    run = Run(client, run_id)
    run.log_artifacts(blend, BLEND)
    labels = Ensemble.read(ensemble).labels
    signature = ModelSignature(
        inputs=Schema([ColSpec("string", "image")]),
        outputs=Schema([ColSpec("double", label) for label in labels]),
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*An input example was not provided")
        model = Path(folder) / "model"
        mlflow.pyfunc.save_model(
            str(model),
            loader_module=LOADER,
            data_path=str(ensemble),
            code_paths=[str(Path(ranzcr.__file__).parent)],  # served where ranzcr is not installed
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in _SERVING],
            signature=signature,
        )
        run.log_artifacts(model, path)
    return f"{client.get_run(run_id).info.artifact_uri}/{path}"
