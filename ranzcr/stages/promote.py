"""A candidate that passed its gates -> the champion."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ranzcr.errors import DataError
from ranzcr.files import write_json
from ranzcr.tracking import provenance, registry


@dataclass(frozen=True)
class PromoteResult:
    """`previous` is the champion it replaced, "" where there was none."""

    version: str
    previous: str
    changed: bool  # False where it was the champion already


def run(candidate: Path, out: Path, *, why: str, who: str = "") -> PromoteResult:
    """Promote the candidate that register wrote down.

    Args:
        candidate: output of register.
        out: JSON to write: version, previous, changed.
        why: the reason, for the ledger.
        who: RANZCR_AUTHOR, git's user or the login name where "".

    Raises TrackingError where its gates did not pass.
    """
    try:
        version = json.loads(candidate.read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{candidate}: not a candidate; expected what register wrote") from None
    done = registry.promote(version, who=who or provenance.author(), why=why)
    result = PromoteResult(done.version, done.previous, done.changed)
    write_json(out, asdict(result))
    return result
