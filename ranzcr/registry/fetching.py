"""A registered version back out of the registry, as the folders it was registered from."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow.artifacts
import yaml
from mlflow import MlflowClient

from ranzcr.errors import TrackingError
from ranzcr.files import hash_folder, replacing
from ranzcr.registry import registry
from ranzcr.registry.candidates import BLEND, CANDIDATES, CandidateVersion
from ranzcr.tracking import server


@dataclass(frozen=True)
class Fetched:
    """A candidate as it stands now: `gate` is "pass" or "fail", and `why` says what failed."""

    version: str
    run_id: str  # of its ensemble
    digest: str  # of its ensemble folder
    gate: str
    why: str


def fetch(word: str, ensemble: Path, blend: Path) -> Fetched:
    """Download a candidate.

    Args:
        word: its version, champion or challenger.
        ensemble: becomes what export wrote.
        blend: becomes what blend wrote.

    Raises TrackingError where there is none by that name, and where what is stored is not what was
    registered.
    """
    stands = registry.standing(word)
    candidate = stands.candidate
    run_id = candidate.found.run_id or ""
    client = server.connect()
    with tempfile.TemporaryDirectory() as folder:
        with server.translated(client.tracking_uri):
            model = _download(client, candidate, Path(folder))
            blended = client.download_artifacts(run_id, BLEND, folder)
        _refuse_other_content(candidate, model)
        for source, target in ((model, ensemble), (blended, blend)):
            with replacing(target) as beside:
                shutil.copytree(source, beside)
    report = stands.report
    return Fetched(candidate.version, run_id, candidate.digest, report.result, report.failures)


def _download(client: MlflowClient, candidate: CandidateVersion, folder: Path) -> Path:
    """The ensemble folder within the model."""
    uri = client.tracking_uri
    place = client.get_model_version_download_uri(CANDIDATES, candidate.version)
    model = Path(
        mlflow.artifacts.download_artifacts(
            place, dst_path=str(folder), tracking_uri=uri, registry_uri=uri
        )
    )
    told = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))
    return model / told["flavors"]["python_function"]["data"]


def _refuse_other_content(candidate: CandidateVersion, ensemble: Path) -> None:
    found = hash_folder(ensemble)
    if found != candidate.digest:
        raise TrackingError(
            f"candidate {candidate.version}: its files have digest {found[:12]}, it was registered "
            f"with {candidate.digest[:12]}; find what else was changed by ranzcr registry verify"
        )
