"""A candidate that passed its gates -> the champion, or a request where others approve."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ranzcr.errors import DataError
from ranzcr.files import write_json
from ranzcr.registry import registry
from ranzcr.registry.promotion import Promotion


def run(candidate: Path, out: Path, *, why: str, who: str = "") -> Promotion:
    """Promote the candidate that register wrote down.

    Args:
        candidate: output of register.
        out: JSON to write: the result.
        why: the reason, for the ledger.
        who: RANZCR_AUTHOR, git's user or the login name where ""; where the server knows who we
            are, that counts, and another person must approve.

    Raises TrackingError where its gates did not pass, or it was rejected.
    """
    try:
        version = json.loads(candidate.read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{candidate}: not a candidate; expected what register wrote") from None
    done = registry.promote(version, who=who, why=why)
    write_json(out, asdict(done))
    return done
