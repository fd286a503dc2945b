"""Opens MLflow's own pages of the journal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from ranzcr.tracking import place, server


@dataclass(frozen=True)
class Ui:
    """A way to open the journal in a browser: start `argv` with `env`, then open `link`.

    `argv` is empty if a server already runs.
    """

    link: str
    argv: list[str] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)


def command(port: int = place.PORT) -> Ui:
    """Return the command that serves MLflow's pages of the journal on this machine only."""
    uri = place.tracking_uri()
    experiment = server.experiment_id(server.connect())
    # Without workflowType the page opens in MLflow's GenAI mode.
    link = f"{place.page(uri, port)}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    if uri.startswith("http"):
        return Ui(link)
    argv = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    file = place.sqlite_file(uri)
    if file is not None:
        argv += ["--artifacts-destination", str(file.parent / "artifacts")]
    argv += ["--host", "127.0.0.1", "--port", str(port)]
    # Without job workers the server takes a third of the memory and starts faster.
    return Ui(link, argv, {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
