"""Records in tags of the registry: JSON with its own hash, so that an edit is detected."""

from __future__ import annotations

import json
from typing import Any

from ranzcr.files import hash_json


def seal(value: dict[str, Any]) -> str:
    """Return the record as text."""
    return json.dumps({**value, "hash": hash_json(value)})


def unseal(text: str | None) -> dict[str, Any] | None:
    """Return the record; None if there is none, or if it was changed."""
    try:
        stored = json.loads(text or "")
        claimed = stored.pop("hash")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return stored if hash_json(stored) == claimed else None
