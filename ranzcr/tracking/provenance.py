"""Which code, on whose behalf, in which pipeline: the tags that every run carries."""

from __future__ import annotations

import getpass
import os
import subprocess
from functools import cache
from pathlib import Path

_SECONDS = 5


def author() -> str:
    """RANZCR_AUTHOR, else git's user name, else the login name, else "unknown"."""
    return os.environ.get("RANZCR_AUTHOR") or _git("config", "user.name") or _login()


def code_version() -> str:
    """RANZCR_CODE, which the pipeline sets to what its cache keys hold; "" where it is not set."""
    return os.environ.get("RANZCR_CODE", "")


def tags() -> dict[str, str]:
    """Tags that come from the surroundings; what is not known is left out."""
    known = {
        "author": author(),
        "git_commit": os.environ.get("RANZCR_COMMIT") or _git("rev-parse", "HEAD"),
        "code": code_version(),
        "image_digest": os.environ.get("RANZCR_IMAGE", ""),
        "kfp_run_id": os.environ.get("KFP_RUN_ID", ""),
    }
    return {key: value for key, value in known.items() if value}


@cache
def _git(*arguments: str) -> str:
    """What git prints about the folder this code lies in; "" without git or a repository."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
