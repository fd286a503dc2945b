"""A PostgreSQL cluster for the tests, on loopback, run by the system's binaries."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from processes import free_ports

_OWNER = "postgres"  # PostgreSQL refuses to run as root
_USER = "ranzcr"


def binaries() -> Path | None:
    """Return the folder of the newest installed PostgreSQL, or None."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda path: int(path.parent.parent.name), default=None)
    return newest.parent if newest else None


class Cluster:
    """A running PostgreSQL."""

    def __init__(self, bin_: Path, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self._bin = bin_
        self._folder = folder
        self._password = secrets.token_urlsafe(16)
        self._runs = False
        self._initialize()

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("-l", str(self._folder / "log.txt"), "-o", options, "start")
        self._runs = True

    def kill(self) -> None:
        """Crash; the next start recovers."""
        self._control("-m", "immediate", "stop")
        self._runs = False

    def stop(self) -> None:
        """Shut it down in order, if it runs."""
        if self._runs:
            self._control("-m", "fast", "stop")
            self._runs = False

    def database(self, name: str) -> str:
        """Create a database and return its SQLAlchemy URI."""
        options = ("-h", "127.0.0.1", "-p", str(self.port), "-U", _USER)
        self._run("createdb", *options, name, environment={"PGPASSWORD": self._password})
        # A bare "postgresql://" would select another driver.
        return f"postgresql+psycopg2://{_USER}:{self._password}@127.0.0.1:{self.port}/{name}"

    def _initialize(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self._password)
        if os.getuid() == 0:
            for path in (self._folder, secret):
                shutil.chown(path, _OWNER)
        settings = ("-U", _USER, f"--pwfile={secret}", "-A", "scram-sha-256", "-E", "UTF8")
        self._run("initdb", "-D", str(self._folder / "data"), *settings, "--no-sync")

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-w", *words)

    def _run(self, program: str, *words: str, environment: Mapping[str, str] | None = None) -> None:
        owner = ("runuser", "-u", _OWNER, "--") if os.getuid() == 0 else ()
        subprocess.run(
            [*owner, str(self._bin / program), *words],
            check=True,
            cwd="/",  # the owner may not enter the current folder
            env={**os.environ, **(environment or {})},
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def serving(bin_: Path) -> Iterator[Cluster]:
    """Run a new cluster until the block ends, then delete it."""
    # Not below pytest's folder: the user postgres may not enter that.
    with tempfile.TemporaryDirectory(prefix="ranzcr-postgres-", dir="/tmp") as folder:
        cluster = Cluster(bin_, Path(folder))
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
