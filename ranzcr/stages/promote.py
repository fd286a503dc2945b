"""A candidate that passed its gates -> the champion, or a request if others must approve."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ranzcr.documents import Candidate
from ranzcr.files import write_json
from ranzcr.registry import registry
from ranzcr.registry.promotion import Promotion


def run(candidate: Path, out: Path, *, why: str, who: str = "") -> Promotion:
    """Promote the candidate that register wrote down.

    Args:
        candidate: output of register.
        out: JSON to write: the result.
        why: the reason, for the ledger.
        who: the author; RANZCR_AUTHOR, git's user or the login name if "". If the server knows who
            we are, that counts, and another person must approve.

    Raises TrackingError if its gates did not pass, or if it was rejected.
    """
    promotion = registry.promote(Candidate.read(candidate).version, who=who, why=why)
    write_json(out, asdict(promotion))
    return promotion
