"""Real `mlflow server`s on loopback, that can be killed and started again where they were."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from processes import end, free_ports, start, wait_until

_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Account:
    """Who a client is to a server with basic-auth."""

    name: str
    password: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What MLflow's client reads."""
        return {"MLFLOW_TRACKING_USERNAME": self.name, "MLFLOW_TRACKING_PASSWORD": self.password}


def account(name: str) -> Account:
    """An account with a random password."""
    return Account(name, secrets.token_urlsafe(16))


class MlflowServer:
    """An `mlflow server` on one port and one set of stores, whichever process runs it."""

    def __init__(
        self,
        folder: Path,
        *,
        backend: str | None = None,
        artifacts: str | None = None,
        auth_database: str | None = None,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            folder: for its log and its settings, and for what has no other place.
            backend: SQLAlchemy URI of its database; SQLite in `folder` if None.
            artifacts: where it keeps them for its clients; below `folder` if None.
            auth_database: SQLAlchemy URI of the users' database; no auth if None.
            options: further words of its command line.
            environment: what it shall know beside, such as the keys of its object store.
        """
        (self.port,) = free_ports(1)
        self.folder = folder
        self.log = folder / "server.log"
        self.admin = account("admin")
        self._command = [
            *(_BIN / "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--serve-artifacts", "--artifacts-destination", artifacts or str(folder / "files")),
            *(("--app-name", "basic-auth") if auth_database else ()),
            *(options or ("--workers", "1")),
        ]
        self._environment = {
            **(environment or {}),
            "MLFLOW_BACKEND_STORE_URI": backend or f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that nothing needs
            # the server starts `python -m uvicorn` from PATH
            "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}",
            **(self._auth(auth_database) if auth_database else {}),
        }
        self._process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run it until `kill` or `stop`; returns when it answers."""
        self._process = start(self._command, self.log, self._environment)
        try:
            wait_until(self._answers, f"mlflow server; see {self.log}")
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """What a crash does: SIGKILL to it and all its workers."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """End it in order; nothing to do where it does not run."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def __enter__(self) -> MlflowServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _auth(self, database: str) -> dict[str, str]:
        settings = self.folder / "auth.ini"
        settings.touch(mode=0o600)
        settings.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
            f"database_uri = {database}\n"
            f"admin_username = {self.admin.name}\nadmin_password = {self.admin.password}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            # Else each call hashes the password: a quarter of a second.
            "auth_cache_ttl_seconds = 60\n"
        )
        return {
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(32),
        }

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"mlflow server ended at once; see {self.log}")
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=1).status == 200
        except urllib.error.HTTPError:
            return True  # it refuses our host name, which is an answer
        except OSError:
            return False


def become(server: MlflowServer, who: Account, patch: pytest.MonkeyPatch) -> None:
    """Let MLflow's client go to `server` as `who`."""
    for name, value in {"MLFLOW_TRACKING_URI": server.uri, **who.environment}.items():
        patch.setenv(name, value)
