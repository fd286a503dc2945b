"""The checks of a local journal, sound and broken, and what they leave behind."""

from __future__ import annotations

import os
import sqlite3
import time

from mlflow.entities import ViewType
from typer.testing import CliRunner

from ranzcr import doctor
from ranzcr.cli import app
from ranzcr.registry import ledger, registry
from ranzcr.tracking import place


def examine(until=None):
    """Return the findings by name, up to one of them."""
    findings = {}
    examination = doctor.examine(place.tracking_uri(), artifact_mb=1)
    for finding in examination:
        findings[finding.name] = finding
        if finding.name == until:
            break
    examination.close()
    return findings


def scratch(client):
    """Return the names of the experiments that examinations have left."""
    experiments = client.search_experiments(view_type=ViewType.ACTIVE_ONLY)
    return [each.name for each in experiments if each.name.startswith("ranzcr-doctor")]


def test_a_local_journal_is_sound(journal, tmp_path):
    findings = examine()
    assert {finding.outcome for finding in findings.values()} == {"ok"}
    assert scratch(journal) == []
    assert not [path for path in (tmp_path / "home").iterdir() if "doctor" in path.name]


def test_the_command_prints_a_table_and_the_counts(journal):
    result = CliRunner().invoke(app, ["doctor", "--artifact-mb", "1"])
    assert result.exit_code == 0, result.output
    assert "artifact there and back" in result.stdout
    assert result.stdout.endswith("\n5 ok\n")


def test_a_database_that_loses_something_is_found(journal, tmp_path):
    with sqlite3.connect(tmp_path / "home" / "mlflow.db") as database:
        database.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON tags WHEN NEW.key = 'run_key' "
            "BEGIN SELECT RAISE(IGNORE); END"
        )
    database.close()
    findings = examine()
    assert findings["a new run"].outcome == "fail"
    assert findings["a new run"].text == "was made, and is found 0 times"
    assert findings["artifact there and back"].text == "needs: a new run"
    assert scratch(journal) == []


def test_a_ledger_that_was_changed_by_hand_is_found(journal, candidate):
    registry.promote(candidate(), who="Ada", why="good")
    assert examine()["ledger"].text == "1 promotions and rollbacks, unchanged"
    line = journal.get_model_version(ledger.PRODUCTION, "1").tags[ledger.TAG]
    forged = line.replace('"Ada"', '"Eve"')
    journal.set_model_version_tag(ledger.PRODUCTION, "1", ledger.TAG, forged)
    finding = examine(until="ledger")["ledger"]
    assert finding.outcome == "fail"
    assert "was changed by hand" in finding.text
    assert finding.fix == "see ranzcr registry verify"


def test_artifacts_that_cannot_be_written_are_found(journal, monkeypatch):
    def refuse(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", refuse)
    finding = examine()["artifact there and back"]
    assert (finding.outcome, finding.text) == ("fail", "No space left on device")
    assert "--artifacts-destination" in finding.fix


def test_what_a_crash_left_an_hour_ago_is_deleted_and_a_running_one_is_not(journal, monkeypatch):
    journal.create_experiment("ranzcr-doctor-crashed")
    examine()
    assert scratch(journal) == ["ranzcr-doctor-crashed"]
    later = time.time() + 3700
    monkeypatch.setattr(time, "time", lambda: later)
    examine()
    assert scratch(journal) == []


def test_an_examination_leaves_the_environment_as_it_was(journal, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    examine(until="experiment")
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"


def test_a_server_that_is_down_fails_once(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 2
    assert "does not answer (connection refused)" in result.stdout
    assert result.stdout.endswith(
        "fail  answers: start the server, or correct the URI\n1 fail, 14 skip\n"
    )


def test_a_word_that_is_not_a_uri_is_one_line(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # the command sets it
    result = CliRunner().invoke(app, ["doctor", "--mlflow", "mlflow:5000"])
    assert result.exit_code == 2
    assert "fail  experiment" in result.stdout
    assert "Traceback" not in result.output
