"""Journals for the tests of this room."""

from __future__ import annotations

import shutil
import sqlite3

import journal_runs
import pytest
from journal_runs import row


@pytest.fixture(scope="session")
def _filled(tmp_path_factory, migrated):
    """The database of `filled`: writing it takes seconds, so tests copy it."""
    home = tmp_path_factory.mktemp("filled")
    shutil.copy(migrated, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANZCR_HOME", str(home))
        patch.delenv("RANZCR_CODE", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        journal_runs.single("b7v3_001", 0.9, 0.85, 0.94)
        journal_runs.single("kdb3v3_b71_001", 0.91)
        journal_runs.pseudo()
        journal_runs.ensemble({"b7v3_001": 0.25, "kdb3v3_b71_001": 0.75}, 0.92)
    with sqlite3.connect(home / "mlflow.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home / "mlflow.db"


@pytest.fixture
def filled(tmp_path, monkeypatch, _filled):
    """Two single models, one set of soft labels, one ensemble; the client of their journal."""
    from ranzcr.tracking import server

    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(_filled, home / "mlflow.db")
    monkeypatch.setenv("RANZCR_HOME", str(home))
    monkeypatch.delenv("RANZCR_CODE", raising=False)
    return server.connect()


@pytest.fixture
def journal_of(request):
    """Adds rows as an importer writes them, started one second after another; their ids.

    They go to the test's journal, which is empty unless the test fills it.
    """
    name = "filled" if "filled" in request.fixturenames else "journal"
    client = request.getfixturevalue(name)

    def add(*rows):
        return [row(client, 1000 * place, **told) for place, told in enumerate(rows, 1)]

    return add
