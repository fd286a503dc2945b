"""MLflow's own pages on the journal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from ranzcr.tracking import place, server


@dataclass(frozen=True)
class Ui:
    """How to look at the journal in a browser: start `argv` with `env` added, then open `link`.

    `argv` is empty where a server already runs.
    """

    link: str
    argv: list[str] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)


def command(port: int = place.PORT) -> Ui:
    """The command that opens MLflow on the journal, on this machine only."""
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
    # Without the job workers it takes a third of the memory and starts sooner.
    return Ui(link, argv, {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
