"""The folder of everything that outlives a command: local journal, artifacts, caches."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return RANZCR_HOME, else `.ranzcr` in the working folder; absolute, links resolved."""
    return Path(os.environ.get("RANZCR_HOME") or ".ranzcr").resolve()
