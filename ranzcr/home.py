"""Where ranzcr keeps what outlives a command: the local journal, its artifacts, caches."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """RANZCR_HOME where it is set, else `.ranzcr` in the working folder; absolute, no links."""
    return Path(os.environ.get("RANZCR_HOME") or ".ranzcr").resolve()
