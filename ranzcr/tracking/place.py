"""The addresses of the journal and of MLflow's pages.

Needs no mlflow, so that a local journal can be read without importing it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ranzcr import competitions
from ranzcr.home import home

EXPERIMENT = competitions.current().name  # one MLflow experiment per competition
PORT = 5000  # of the pages that `ranzcr ui` serves


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or `sqlite:///<home>/mlflow.db` if it is not set."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def shown(uri: str) -> str:
    """Return `uri` without a user name and password."""
    return re.sub(r"//[^/\s]*@", "//", uri)


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a sqlite URI; None for any other URI."""
    path = uri.removeprefix("sqlite:///")
    return Path(path) if path != uri and path not in ("", ":memory:") else None


def page(uri: str, port: int = PORT) -> str:
    """Return the address of MLflow's pages: of the server, or of `ranzcr ui` on this machine."""
    return shown(uri).rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{port}"


def run_page(pages: str, experiment_id: str, run_id: str) -> str:
    """Return the address of one run's page."""
    return f"{pages}/#/experiments/{experiment_id}/runs/{run_id}"
