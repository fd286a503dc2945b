"""A registered version -> the ensemble and the blend that it was registered from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ranzcr.files import write_json
from ranzcr.registry import fetching
from ranzcr.registry.fetching import Fetched
from ranzcr.submission import bundle


@dataclass(frozen=True)
class FetchResult:
    """`told` is the candidate; `image_size` the pixels per side that its images are decoded to."""

    told: Fetched
    image_size: int


def run(version: str, ensemble: Path, blend: Path, candidate: Path) -> FetchResult:
    """Fetch a candidate's folders and how it stands at its gates now.

    Args:
        version: of the candidates; or champion, or challenger.
        ensemble: folder to make, as export wrote it.
        blend: folder to make, as blend wrote it.
        candidate: JSON to write, as register writes it.

    Raises TrackingError where there is no such version, or what is stored was changed.
    """
    told = fetching.fetch(version, ensemble, blend)
    write_json(candidate, asdict(told))
    return FetchResult(told, bundle.read_ensemble(ensemble)["cache_size"])
