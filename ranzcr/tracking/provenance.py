"""Tags about the code, the author and the pipeline, which every run carries."""

from __future__ import annotations

import getpass
import os
import subprocess
from functools import cache
from pathlib import Path

from ranzcr.tracking.names import Tag

_SECONDS = 5


def author() -> str:
    """Return RANZCR_AUTHOR, else git's user name, else the login name, else "unknown"."""
    return os.environ.get("RANZCR_AUTHOR") or _git("config", "user.name") or _login()


def code_version() -> str:
    """Return RANZCR_CODE, which the pipeline sets to the code part of its cache keys, or ""."""
    return os.environ.get("RANZCR_CODE", "")


def tags() -> dict[str, str]:
    """Return the tags that are known from the environment."""
    values = {
        Tag.AUTHOR: author(),
        Tag.GIT_COMMIT: os.environ.get("RANZCR_COMMIT") or _git("rev-parse", "HEAD"),
        Tag.CODE: code_version(),
        Tag.IMAGE_DIGEST: os.environ.get("RANZCR_IMAGE", ""),
        Tag.KFP_RUN_ID: os.environ.get("KFP_RUN_ID", ""),
    }
    return {name: value for name, value in values.items() if value}


@cache
def _git(*arguments: str) -> str:
    """Return git's output for the folder of this code; "" without git or a repository."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
