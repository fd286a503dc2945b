"""The journal read from a real `mlflow server` with accounts."""

import math

import pytest
from journal_runs import comparable, row

from ranzcr.errors import TrackingError
from ranzcr.journal import reading, remote, show
from ranzcr.journal import rows as journal
from ranzcr.tracking import server


@pytest.fixture
def client(guarded_server, monkeypatch):
    """The server's client, as its administrator."""
    return _connected(guarded_server, monkeypatch)


def _connected(guarded_server, patch):
    known = {"MLFLOW_TRACKING_URI": guarded_server.uri, **guarded_server.admin.environment}
    for name, value in known.items():
        patch.setenv(name, value)
    return server.connect()


@pytest.fixture(scope="module")
def written(guarded_server):
    """Ids of 19 rows, so that most slices have one; two more runs that no reader may show."""
    with pytest.MonkeyPatch.context() as patch:
        client = _connected(guarded_server, patch)
        ids = [
            row(
                client,
                1000 * (place // 2),  # two at a time: the id decides
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
def rows(client, written):
    return written


def test_slices_of_a_server_are_what_its_client_says(client, rows, monkeypatch):
    monkeypatch.setattr(remote, "_PAGE", 1)  # a page per run: slices have several
    found = reading.read("read-by-slices").runs
    experiment = server.experiment_id(client)
    expected = [remote._of_run(run) for run in remote.search(client, experiment, "read-by-slices")]
    assert comparable(found) == comparable(expected)
    assert {entry.run_id for entry in found} == set(rows)
    assert "fold" not in {entry.tags["kind"] for entry in reading.read().runs}


def test_a_row_links_to_the_servers_own_page(guarded_server, rows):
    found = journal.select(where=["experiment=read by slices 3"])
    (shown,) = found.rows
    assert shown["link"].startswith(f"{guarded_server.uri}/#/experiments/")
    assert shown["link"].endswith(f"/runs/{rows[3]}")
    assert shown["link"] in show.render(found, "html")


def test_a_run_is_found_without_reading_all(rows, monkeypatch):
    monkeypatch.setattr(reading, "read", lambda kind=None: pytest.fail("read all runs"))
    assert journal.resolve("read by slices 3") == journal.resolve(rows[3][:8]) == rows[3]


def test_a_wrong_password_is_one_line(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "not the password")
    with pytest.raises(TrackingError) as caught:
        journal.select()
    assert "\n" not in str(caught.value)
    assert "not the password" not in str(caught.value)
