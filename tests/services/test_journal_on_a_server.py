"""The journal read from a real `mlflow server` with accounts."""

import math

import pytest
from journal_runs import comparable, row
from mlflow_servers import become

from ranzcr.errors import TrackingError
from ranzcr.journal import reading, remote, rows, show
from ranzcr.tracking import server


@pytest.fixture
def client(guarded_server, monkeypatch):
    """The server's client, as its administrator."""
    return _connected(guarded_server, monkeypatch)


def _connected(guarded_server, patch):
    become(guarded_server, guarded_server.admin, patch)
    return server.connect()


@pytest.fixture(scope="module")
def written(guarded_server):
    """Write 19 rows (most slices get one), a deleted run and a fold; return the rows' ids."""
    with pytest.MonkeyPatch.context() as patch:
        client = _connected(guarded_server, patch)
        ids = [
            row(
                client,
                1000 * (place // 2),  # pairs with the same start are sorted by id
                name=f"read by slices {place}",
                kind="read-by-slices",
                tags={"decision": "läuft\nnoch 'ja'", "empty": ""},
                params={"cfg.model.head": "gem"},
                metrics={"cv_auc": 0.9 + place / 1000, "nan": math.nan, "inf": math.inf},
            )
            for place in range(20)
        ]
        client.delete_run(ids.pop())
        row(client, 1, name="a fold", kind="fold")
    return ids


@pytest.fixture
def run_ids(client, written):
    return written


def test_slices_of_a_server_give_the_same_runs_as_its_client(client, run_ids, monkeypatch):
    monkeypatch.setattr(remote, "_PAGE", 1)  # a page per run: slices have several
    runs = reading.read("read-by-slices").runs
    experiment = server.experiment_id(client)
    expected = map(remote.of_mlflow, remote.search(client, experiment, "read-by-slices"))
    assert comparable(runs) == comparable(expected)
    assert {run.run_id for run in runs} == set(run_ids)
    assert "fold" not in {run.tags["kind"] for run in reading.read().runs}


def test_a_row_links_to_the_servers_own_page(guarded_server, run_ids):
    selection = rows.select(where=["experiment=read by slices 3"])
    (shown,) = selection.rows
    assert shown["link"].startswith(f"{guarded_server.uri}/#/experiments/")
    assert shown["link"].endswith(f"/runs/{run_ids[3]}")
    assert shown["link"] in show.render(selection, "html")


def test_a_run_is_found_without_reading_all(run_ids, monkeypatch):
    monkeypatch.setattr(reading, "read", lambda kind=None: pytest.fail("read all runs"))
    assert rows.resolve("read by slices 3") == rows.resolve(run_ids[3][:8]) == run_ids[3]


def test_the_error_for_a_wrong_password_is_one_line(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "not the password")
    with pytest.raises(TrackingError) as caught:
        rows.select()
    assert "\n" not in str(caught.value)
    assert "not the password" not in str(caught.value)
