"""A registered version -> the ensemble and the blend that it was registered from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ranzcr.documents import Candidate, Ensemble
from ranzcr.registry import fetching


@dataclass(frozen=True)
class FetchResult:
    """The candidate, and the pixels per side to which its images are decoded."""

    candidate: Candidate
    image_size: int


def run(version: str, ensemble: Path, blend: Path, candidate: Path) -> FetchResult:
    """Fetch a candidate's folders and its gates as they count now.

    Args:
        version: of the candidates; or champion, or challenger.
        ensemble: folder to create, as export wrote it.
        blend: folder to create, as blend wrote it.
        candidate: JSON to write, as register writes it.

    Raises TrackingError if there is no such version, or if the stored files were changed.
    """
    fetched = fetching.fetch(version, ensemble, blend)
    fetched.write(candidate)
    return FetchResult(fetched, Ensemble.read(ensemble).cache_size)
