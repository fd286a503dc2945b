"""Download a registered version as the folders that it was registered from."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ranzcr.documents import Candidate
from ranzcr.errors import TrackingError
from ranzcr.files import hash_folder, replacing
from ranzcr.registry import candidates, registry
from ranzcr.registry.candidates import BLEND, CANDIDATES, CandidateVersion
from ranzcr.tracking import server


def fetch(word: str, ensemble: Path, blend: Path) -> Candidate:
    """Download a candidate; return it with its gates as they count now.

    Args:
        word: its version, champion or challenger.
        ensemble: folder to create, as export wrote it.
        blend: folder to create, as blend wrote it.

    Raises TrackingError for an unknown candidate, and if the stored files are not those that were
    registered.
    """
    standing = registry.standing(word)
    candidate = standing.candidate
    with tempfile.TemporaryDirectory() as folder:
        with server.connected() as client:
            model = candidates.download(client, CANDIDATES, candidate.version, Path(folder))
            blended = client.download_artifacts(candidate.run_id, BLEND, folder)
        _refuse_other_content(candidate, model)
        for source, target in ((model, ensemble), (blended, blend)):
            with replacing(target) as beside:
                shutil.copytree(source, beside)
    return registry.describe(candidate, standing.report)


def _refuse_other_content(candidate: CandidateVersion, ensemble: Path) -> None:
    digest = hash_folder(ensemble)
    if digest != candidate.digest:
        raise TrackingError(
            f"candidate {candidate.version}: its files have digest {digest[:12]}, it was "
            f"registered with {candidate.digest[:12]}; find all changes with ranzcr registry verify"
        )
