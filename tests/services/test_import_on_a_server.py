"""Importing a table to a real server: many rows at once, lost answers, a crash."""

import pytest
from journal_runs import frame

from ranzcr.errors import TrackingError
from ranzcr.journal import importing
from ranzcr.tracking import server

ROWS = 24


@pytest.fixture
def table(tmp_path):
    def write(name, *changes):
        lines = [f"{name}_{number},0.9{number:02d},light" for number in range(ROWS)]
        text = "\n".join(["experiment,cv_auc,params.augs", *lines])
        for old, new in changes:
            text = text.replace(old, new)
        (tmp_path / f"{name}.csv").write_text(text)
        return tmp_path / f"{name}.csv"

    return write


def names(start):
    return sorted(name for name in frame().experiment if name.startswith(f"{start}_"))


def all_of(start):
    return sorted(f"{start}_{number}" for number in range(ROWS))


def test_rows_are_created_once_though_answers_are_lost(lossy_proxy, table):
    lossy_proxy.lose("/runs/create", "/runs/update", "/runs/log-batch")
    importing.run(table("lost"))
    assert sorted(lossy_proxy.lost) == ["/runs/create", "/runs/log-batch", "/runs/update"]
    assert names("lost") == all_of("lost")
    assert importing.run(table("lost")).summary() == f"0 new, 0 changed, {ROWS} same"
    client = server.connect()
    experiment = server.experiment_id(client)
    assert client.search_runs([experiment], "tags.imported_cells = 'unfinished'") == []


def test_edits_and_replacements_reach_a_server(lossy_proxy, table):
    importing.run(table("edit"))
    edited = table("edit", ("0.901", "0.899"), ("edit_2,0.902,light", "edit_2,0.902,heavy"))
    assert importing.run(edited).summary() == f"0 new, 2 changed, {ROWS - 2} same"
    assert importing.run(edited).summary() == f"0 new, 0 changed, {ROWS} same"
    assert names("edit") == all_of("edit")


def test_an_import_that_loses_its_server_is_finished_by_the_next(
    private_server, lossy_proxy, table, monkeypatch
):
    log, calls = importing.writing._log, []

    def killing(*arguments):
        calls.append(1)
        if len(calls) == ROWS // 2:
            private_server.kill()
        log(*arguments)

    monkeypatch.setattr(importing.writing, "_log", killing)
    monkeypatch.setattr(server, "_PATIENCE", 1)
    with pytest.raises(
        TrackingError, match=f"of {ROWS} changes are written, import dead.csv again"
    ):
        importing.run(table("dead"))
    monkeypatch.setattr(importing.writing, "_log", log)
    private_server.start()
    assert 0 < len(names("dead")) < ROWS
    importing.run(table("dead"))
    assert names("dead") == all_of("dead")
