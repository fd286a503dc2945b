"""MLflow's tables are read without mlflow, with the same result as by its client."""

import math
import sqlite3
import subprocess
import sys

import pytest
from journal_runs import DIGEST, comparable
from mlflow.entities import Metric

from ranzcr import config
from ranzcr.errors import TrackingError
from ranzcr.journal import local_tables, reading, remote
from ranzcr.tracking import context, place, server


@pytest.fixture
def odd(filled, journal_of):
    """A journal with fold runs, a deleted run, odd numbers and words, and another experiment."""
    with context.fold_run(config.load("smoke_a"), dataset_digest=DIGEST, fold=1, labels=["ä"]):
        pass
    ids = journal_of(
        {"name": "deleted"},
        {"name": "Größe 'b7' 𝔘", "tags": {"decision": "läuft\nnoch", "empty": ""}},
        {"name": "running", "status": "RUNNING", "params": {"cfg.x": "1"}},
        {"name": "of no kind we know", "kind": "sweep"},
    )
    filled.delete_run(ids[0])
    values = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "tiny": 5e-324, "third": 1 / 3}
    stamped = [Metric(key, value, 1, step) for key, value in values.items() for step in (0, 1)]
    filled.log_batch(ids[1], metrics=[*stamped, Metric("third", 0.25, 0, 2)])
    other = filled.create_experiment("another")
    filled.create_run(other, tags={"kind": "single"})
    return filled


def test_the_tables_give_the_same_runs_as_the_client(odd):
    file = place.sqlite_file(place.tracking_uri())
    experiment = server.experiment_id(odd)
    for kind, count in {None: 8, "single": 5, "sweep": 1, "nothing": 0}.items():
        runs, experiment_id = local_tables.read(file, place.EXPERIMENT, kind)
        assert comparable(runs) == comparable(remote.read(odd, experiment, kind))
        assert (len(runs), experiment_id) == (count, experiment)


def test_the_schema_is_that_of_the_installed_mlflow(journal):
    from mlflow.store.db.utils import _get_latest_schema_revision

    assert _get_latest_schema_revision() == local_tables.SCHEMA


def test_another_schema_is_read_by_mlflow(filled):
    before = comparable(reading.read().runs)
    database = sqlite3.connect(place.sqlite_file(place.tracking_uri()))
    database.execute("UPDATE alembic_version SET version_num = 'another'")
    database.commit()
    assert local_tables.read(place.sqlite_file(place.tracking_uri()), "ranzcr-clip", None) is None
    database.close()
    assert comparable(reading.read().runs) == before  # mlflow had checked the schema before


def test_the_error_for_a_damaged_journal_is_one_line(journal):
    file = place.sqlite_file(place.tracking_uri())
    for beside in file.parent.glob("mlflow.db-*"):
        beside.unlink()
    file.write_bytes(b"no database at all" * 100)
    with pytest.raises(TrackingError, match="is damaged; restore it from a backup"):
        reading.read()


def test_a_deleted_experiment_is_read_by_mlflow(filled):
    filled.delete_experiment(server.experiment_id(filled))
    file = place.sqlite_file(place.tracking_uri())
    assert local_tables.read(file, place.EXPERIMENT, None) is None


def test_a_journal_with_special_characters_in_its_path_is_read(filled, tmp_path):
    file = place.sqlite_file(place.tracking_uri())
    odd = tmp_path / "a?b#c %20 ü.db"
    with sqlite3.connect(file) as source, sqlite3.connect(odd) as copy:
        source.backup(copy)
    assert len(local_tables.read(odd, place.EXPERIMENT, None)[0]) == 4


def test_reading_writes_nothing(filled):
    file = place.sqlite_file(place.tracking_uri())
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = file.read_bytes()
    reading.read()
    assert file.read_bytes() == before


def test_showing_a_local_journal_imports_neither_mlflow_nor_pandas(filled):
    program = (
        "import sys; from ranzcr.cli import app\n"
        "try: app(['journal', 'show'])\n"
        "except SystemExit: pass\n"
        "print('HEAVY', [name for name in ('mlflow', 'pandas', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "b7v3_001" in done.stdout
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


def test_the_client_finds_names_with_quotes(odd):
    experiment = server.experiment_id(odd)
    (run,) = remote.named(odd, experiment, "Größe 'b7' 𝔘")
    assert reading.is_named(run, "Größe 'b7' 𝔘")
    assert remote.named(odd, experiment, "'\"") == []
    (same,) = remote.named(odd, experiment, run.run_id[:8])
    assert same.run_id == run.run_id
