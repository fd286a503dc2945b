"""Where the journal lies; needs no mlflow, so that a local journal is read without it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ranzcr.home import home

EXPERIMENT = "ranzcr-clip"  # one MLflow experiment per competition
PORT = 5000  # of the pages that `ranzcr ui` serves


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI where it is set, else `sqlite:///<home>/mlflow.db`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def shown(uri: str) -> str:
    """`uri` without the user and the password that it may carry."""
    return re.sub(r"//[^/\s]*@", "//", uri)


def sqlite_file(uri: str) -> Path | None:
    """The file behind a sqlite URI, None for any other."""
    path = uri.removeprefix("sqlite:///")
    return Path(path) if path != uri and path not in ("", ":memory:") else None


def page(uri: str, port: int = PORT) -> str:
    """Where MLflow's pages are: the server's own, or what `ranzcr ui` serves on this machine."""
    return shown(uri).rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{port}"


def run_page(pages: str, experiment_id: str, run_id: str) -> str:
    """The page of one run."""
    return f"{pages}/#/experiments/{experiment_id}/runs/{run_id}"
