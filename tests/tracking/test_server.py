"""The address of MLflow, and its failures as one line."""

import logging
import shutil
import socket
import sqlite3

import pytest

from ranzcr.errors import TrackingError
from ranzcr.tracking import server


@pytest.fixture
def closed_port():
    """A loopback port where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_the_journal_is_sqlite_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("RANZCR_HOME", str(tmp_path))
    assert server.tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"


def test_the_environment_names_another_mlflow(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert server.tracking_uri() == "http://mlflow:5000"


def test_artifacts_are_stored_beside_the_journal(journal, tmp_path):
    place = journal.get_experiment_by_name(server.EXPERIMENT).artifact_location
    assert place == (tmp_path / "home" / "artifacts").as_uri()


def test_a_server_that_is_down_is_one_line_without_the_password(monkeypatch, closed_port):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:secret@127.0.0.1:{closed_port}")
    with pytest.raises(TrackingError) as caught:
        server.connect()
    assert str(caught.value) == (
        f"MLflow at http://127.0.0.1:{closed_port} does not answer (connection refused); start "
        "it, or unset MLFLOW_TRACKING_URI to use the local journal"
    )


def test_a_server_that_does_not_answer_is_one_line(monkeypatch):
    with socket.socket() as silent, server.hurried(seconds=1):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(TrackingError, match=r"does not answer \(no answer in time\)"):
            server.connect()


def test_hurried_restores_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with server.hurried():
        assert server.os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "4"
    assert server.os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in server.os.environ


def test_a_damaged_journal_is_one_line(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("RANZCR_HOME", str(tmp_path))
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 500)
    with pytest.raises(TrackingError, match="is damaged; restore it") as caught:
        server.connect()
    assert "\n" not in str(caught.value)


def test_a_newer_journal_names_the_installed_mlflow(monkeypatch, tmp_path, migrated):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("RANZCR_HOME", str(tmp_path))
    shutil.copy(migrated, tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("update alembic_version set version_num = 'ffff00001111'")
    connection.close()
    with pytest.raises(TrackingError, match="was written by another version than mlflow 3"):
        server.connect()


def test_a_deleted_experiment_is_restored(journal):
    journal.delete_experiment(server.experiment_id(journal))
    server.connect()
    assert journal.get_experiment_by_name(server.EXPERIMENT).lifecycle_stage == "active"


def test_mlflow_prints_nothing(journal, capfd):
    server.connect()
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("alembic").level == logging.CRITICAL
    from mlflow.telemetry import get_telemetry_client

    assert get_telemetry_client() is None


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://ada:secret@host:5000/x", "http://host:5000/x"),
        ("postgresql://u:p@db/mlflow", "postgresql://db/mlflow"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
    ],
)
def test_credentials_are_never_shown(uri, shown):
    assert server.shown(uri) == shown


def test_a_read_only_journal_names_the_variable_to_set(monkeypatch, tmp_path):
    monkeypatch.setenv("RANZCR_HOME", str(tmp_path))
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(TrackingError, match="cannot be written; set RANZCR_HOME"):
        server.connect()
