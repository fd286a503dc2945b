"""The examination of a local journal; databases that misbehave are found out."""

import sqlite3

import pytest
from mlflow.entities import ViewType
from typer.testing import CliRunner

from ranzcr import checkup, doctor
from ranzcr.cli import app
from ranzcr.tracking import server


def examine(until=None):
    """The findings by name, up to one of them."""
    found = {}
    examination = doctor.examine(server.tracking_uri(), artifact_mb=1)
    for finding in examination:
        found[finding.name] = finding
        if finding.name == until:
            break
    examination.close()
    return found


def scratch(client):
    """The names of what examinations have left."""
    experiments = client.search_experiments(view_type=ViewType.ACTIVE_ONLY)
    models = client.search_registered_models()
    return [each.name for each in (*experiments, *models) if each.name.startswith("ranzcr-doctor")]


def test_a_local_journal_is_healthy(journal, tmp_path):
    found = examine()
    without_server = {each.name for each in doctor.CHECKS if each.http}
    assert {name for name, each in found.items() if each.outcome == "skip"} == without_server
    assert {each.outcome for each in found.values()} == {"ok", "skip"}
    assert scratch(journal) == []
    assert not [path for path in (tmp_path / "home").iterdir() if "doctor" in path.name]


def test_the_command_prints_a_table_and_the_counts(journal):
    done = CliRunner().invoke(app, ["doctor", "--artifact-mb", "1"])
    assert done.exit_code == 0, done.output
    assert "the same metrics again" in done.stdout
    assert "there is no server" in done.stdout
    assert done.stdout.endswith("10 skip, 17 ok\n")


DROPPED = "BEGIN SELECT RAISE(IGNORE); END"
BROKEN = {
    "a run by its key": (
        f"BEFORE INSERT ON tags WHEN NEW.key = 'run_key' {DROPPED}",
        "was made, and is not found",
    ),
    "1,000 metrics at once": (
        f"BEFORE INSERT ON metrics WHEN NEW.step >= 900 {DROPPED}",
        "900 of 1000 arrived",
    ),
    "long params and tags": (
        "AFTER INSERT ON params WHEN length(NEW.value) > 500 "
        "BEGIN UPDATE params SET value = substr(NEW.value, 1, 500) WHERE run_uuid = NEW.run_uuid; "
        "END",
        "a param is cut to 500",
    ),
    "metrics of an ended run": (
        f"BEFORE INSERT ON latest_metrics WHEN NEW.key = 'late' {DROPPED}",
        "are lost",
    ),
    "search": (
        f"BEFORE INSERT ON latest_metrics WHEN NEW.key = 'cv_auc' {DROPPED}",
        "finds the wrong runs by",
    ),
    "one data set noted at once": (
        "AFTER INSERT ON inputs BEGIN DELETE FROM inputs WHERE input_uuid = NEW.input_uuid; END",
        "a run has 0 of it",
    ),
    "saved views": (
        "AFTER INSERT ON experiment_tags BEGIN UPDATE experiment_tags SET "
        "value = substr(NEW.value, 1, 300) WHERE experiment_id = NEW.experiment_id; END",
        "are cut to 300 characters",
    ),
    "a version by its digest": (
        f"BEFORE INSERT ON model_version_tags WHEN NEW.key = 'digest' {DROPPED}",
        "was made, and is not found",
    ),
    "tags of a version": (
        "AFTER UPDATE ON model_version_tags WHEN NEW.value = 'pass' BEGIN "
        "UPDATE model_version_tags SET value = 'fail' WHERE key = 'gate'; END",
        "are not replaced",
    ),
    "aliases": (
        "AFTER UPDATE ON registered_model_aliases WHEN NEW.version = 2 BEGIN "
        "UPDATE registered_model_aliases SET version = 1; END",
        "champion is at 1, not 2",
    ),
    "copy to another model": (
        f"BEFORE INSERT ON model_version_tags WHEN NEW.name LIKE '%-copy' {DROPPED}",
        "loses the tags",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_database_that_loses_something_is_found_out(name, journal, tmp_path):
    trigger, text = BROKEN[name]
    with sqlite3.connect(tmp_path / "home" / "mlflow.db") as database:
        database.execute(f"CREATE TRIGGER broken {trigger}")
    database.close()
    finding = examine(until=name)[name]
    assert finding.outcome == "fail"
    assert text in finding.text
    assert finding.fix
    assert scratch(journal) == []


def test_what_depends_on_a_failed_check_is_skipped(journal, tmp_path):
    with sqlite3.connect(tmp_path / "home" / "mlflow.db") as database:
        database.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON metrics BEGIN "
            "SELECT RAISE(ABORT, 'no metrics today'); END"
        )
    database.close()
    found = examine(until="the same metrics again")
    assert "no metrics today" in found["1,000 metrics at once"].text
    again = found["the same metrics again"]
    assert (again.outcome, again.text) == ("skip", "needs: 1,000 metrics at once")


def test_what_a_crash_left_an_hour_ago_is_deleted_and_a_running_one_is_not(journal, monkeypatch):
    for name in ("ranzcr-doctor-crashed", "ranzcr-doctor-running"):
        journal.create_experiment(name)
        journal.create_registered_model(name)
    assert len(scratch(journal)) == 4
    visit = checkup.Visit(server.tracking_uri(), 1)
    assert visit.clean() == 0
    later = checkup.time.time() + 3700
    monkeypatch.setattr(checkup.time, "time", lambda: later)
    assert visit.clean() == 4
    assert scratch(journal) == []


def test_an_examination_leaves_the_environment_as_it_was(journal, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    examine(until="experiment")
    assert checkup.os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"


def test_a_server_that_is_down_fails_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 2
    assert "does not answer (connection refused)" in done.stdout
    assert done.stdout.endswith(
        "fail  answers: start the server, or correct the URI\n1 fail, 26 skip\n"
    )


def test_a_word_that_is_no_uri_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # the command sets it
    done = CliRunner().invoke(app, ["doctor", "--mlflow", "mlflow:5000"])
    assert done.exit_code == 2
    assert "fail  experiment" in done.stdout
    assert "Traceback" not in done.output
