"""Real `mlflow server`s on loopback, which can be killed and restarted on the same port."""

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
    """A user of a server with basic-auth."""

    name: str
    password: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that MLflow's client reads."""
        return {"MLFLOW_TRACKING_USERNAME": self.name, "MLFLOW_TRACKING_PASSWORD": self.password}


def account(name: str) -> Account:
    """Return an account with a random password."""
    return Account(name, secrets.token_urlsafe(16))


class MlflowServer:
    """An `mlflow server`: its port and its stores stay the same when it is restarted."""

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
            folder: for its log and settings, and for its data unless the next two say otherwise.
            backend: SQLAlchemy URI of its database; SQLite in `folder` if None.
            artifacts: where it keeps its clients' artifacts; below `folder` if None.
            auth_database: SQLAlchemy URI of the users' database; no auth if None.
            options: more options of its command line; `--workers 1` if empty.
            environment: more variables, such as the keys of its object store.
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
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves eight processes
            # the server starts `python -m uvicorn` from PATH
            "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}",
            **(self._auth(auth_database) if auth_database else {}),
        }
        self._process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and return when it answers; `kill` or `stop` ends it."""
        self._process = start(self._command, self.log, self._environment)
        try:
            wait_until(self._answers, f"mlflow server; see {self.log}")
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Crash: send SIGKILL to the server and all its workers."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Shut the server down in order, if it runs."""
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
            # Else each call spends a quarter of a second hashing the password.
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
            return True  # it may refuse this host name, but it answers
        except OSError:
            return False


def become(server: MlflowServer, user: Account, patch: pytest.MonkeyPatch) -> None:
    """Let MLflow's client call `server` as `user`."""
    for name, value in {"MLFLOW_TRACKING_URI": server.uri, **user.environment}.items():
        patch.setenv(name, value)
