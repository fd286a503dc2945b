"""Backup and restore, as the CronJobs run them, on a real PostgreSQL and S3."""

from __future__ import annotations

import json

import mlflow
import mlflow_pods
import psycopg2
import pytest
import swift
from manifests import needs_kubectl, pods_of, render
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

pytestmark = needs_kubectl


@pytest.fixture(scope="module")
def database(cluster):
    return mlflow_pods.databases(cluster)


@pytest.fixture(scope="module")
def migrated(database, s3, tmp_path_factory):
    """Return a kubelet for the overlay's pods, after the migration."""
    return mlflow_pods.migrated(render("eks"), database, s3, tmp_path_factory.mktemp("kubelet"))


@pytest.fixture
def kubelet(migrated, database, bucket, monkeypatch):
    """A kubelet with an empty store for backups; this process is the server's database user."""
    for name, value in database.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")  # leave no session open
    return migrated


@pytest.fixture
def bucket(s3):
    client = swift.client(s3)
    for key in keys(client):
        client.delete_object(Bucket=swift.BUCKET, Key=key)
    return client


def keys(client):
    objects = client.list_objects_v2(Bucket=swift.BUCKET, Prefix="backups/").get("Contents", [])
    return [entry["Key"] for entry in objects]


def back_up(kubelet):
    pods = pods_of(render("eks"), "CronJob/mlflow-backup")
    kubelet.run(pods, "dump")
    kubelet.run(pods, "push")


def restore(kubelet, check=True, **variables):
    pods = pods_of(render("eks"), "CronJob/mlflow-restore")
    result = kubelet.run(pods, "pull", check=check, **variables)
    return result if result.returncode else kubelet.run(pods, "restore", check=check)


def log_run(name):
    """Write a run into the journal, and a user of the same name."""
    store = mlflow.MlflowClient("postgresql+psycopg2:///mlflow")
    run = store.create_run("0", run_name=name)
    store.log_metric(run.info.run_id, "cv_auc", 0.9)
    store.set_terminated(run.info.run_id)
    users().create_user(name, "a long enough password")


def users():
    store = SqlAlchemyStore()
    store.init_db("postgresql+psycopg2:///mlflow_auth")
    return store


def contents():
    """Return the names in both databases: those of runs, those of users."""
    runs = mlflow.MlflowClient("postgresql+psycopg2:///mlflow").search_runs(["0"])
    return {run.info.run_name for run in runs}, {user.username for user in users().list_users()}


def test_a_lost_journal_and_its_users_come_back(kubelet):
    log_run("anna")
    expected = contents()
    back_up(kubelet)
    log_run("too-late")
    for name in ("mlflow", "mlflow_auth"):
        with psycopg2.connect(dbname=name) as connection:
            connection.cursor().execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.close()
    restore(kubelet)
    assert contents() == expected


def test_a_restored_database_can_be_backed_up_and_restored(kubelet):
    log_run("ben")
    expected = contents()
    back_up(kubelet)
    restore(kubelet)
    back_up(kubelet)
    restore(kubelet)
    assert contents() == expected


def test_a_server_runs_on_a_restored_database(kubelet):
    back_up(kubelet)
    restore(kubelet)
    kubelet.run(pods_of(render("eks"), "Job/mlflow-migrate"), "migrate")
    log_run("cleo")
    assert "cleo" in contents()[0] & contents()[1]


def test_nothing_is_restored_while_a_server_runs(kubelet):
    back_up(kubelet)
    log_run("dora")
    with psycopg2.connect(dbname="mlflow"):
        result = restore(kubelet, check=False)
    assert result.returncode == 1
    assert "1 sessions are open on the databases; scale the deployment mlflow to 0" in result.stderr
    assert "dora" in contents()[0]


def test_a_damaged_dump_changes_nothing(kubelet, bucket):
    log_run("emil")
    back_up(kubelet)
    (dump,) = [key for key in keys(bucket) if key.endswith("mlflow_auth.dump")]
    content = bucket.get_object(Bucket=swift.BUCKET, Key=dump)["Body"].read()
    bucket.put_object(Bucket=swift.BUCKET, Key=dump, Body=content[:-100])
    result = restore(kubelet, check=False)
    assert result.returncode == 1
    assert result.stderr.endswith("its content has changed; choose another backup\n")
    assert "emil" in contents()[0] & contents()[1]


def test_a_backup_is_chosen_by_name(kubelet, bucket):
    log_run("fritz")
    expected = contents()
    back_up(kubelet)
    (name,) = {key.split("/")[1] for key in keys(bucket)}
    other = f"backups/{name.replace('20', '21', 1)}"  # a later backup
    for file in ("mlflow.dump", "mlflow_auth.dump"):
        bucket.put_object(Bucket=swift.BUCKET, Key=f"{other}/{file}", Body=b"half of a dump")
    restore(kubelet)  # ignores the later one, which is incomplete: it has no manifest
    log_run("gerda")
    restore(kubelet, BACKUP=name)
    assert contents() == expected
    result = restore(kubelet, check=False, BACKUP="yesterday")
    assert result.stderr.endswith(f"no backup yesterday; there are {name}\n")


def test_old_and_incomplete_backups_are_deleted(kubelet, bucket):
    def put(name, file):
        bucket.put_object(Bucket=swift.BUCKET, Key=f"backups/{name}/{file}", Body=json.dumps({}))

    for day in range(1, 31):
        put(f"2026-01-{day:02}T021700Z", "manifest.json")
    put("2026-01-01T031700Z", "mlflow.dump")
    put("2026-01-02T031700Z", "mlflow.dump")
    back_up(kubelet)
    kept = {key.split("/")[1] for key in keys(bucket)}
    assert min(kept) == "2026-01-02T021700Z"
    assert "2026-01-01T031700Z" not in kept
    assert len({key for key in keys(bucket) if key.endswith("manifest.json")}) == 30
