"""Notes, decisions and leaderboard scores of a run."""

import re

import pytest
from journal_runs import frame, single
from mlflow.entities import RunStatus

from ranzcr import config
from ranzcr.errors import ConfigError, TrackingError
from ranzcr.journal import notes, rows, show


def description(client, run_id):
    return client.get_run(run_id).data.tags["mlflow.note.content"]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: notes.set_lb("x", public=97.4), "leaderboard score 97.4: expected an AUC"),
        (lambda: notes.set_lb("x"), "no leaderboard score; give --public, --private or both"),
        (lambda: notes.note("x", " \n"), "the note is empty; write something"),
        (lambda: notes.decide("x", "no" * 5000), "the decision has 10000 characters; MLflow"),
    ],
)
def test_invalid_input_is_an_error(write, message):
    with pytest.raises(ConfigError, match=message):
        write()


def test_leaderboard_scores_are_written_by_name_or_id(filled):
    run_id = notes.set_lb("b7v3_001", public=0.966)
    notes.set_lb(run_id[:8], private=0.97)
    row = frame().set_index("experiment").loc["b7v3_001"]
    assert (row.lb_public, row.lb_private) == (0.966, 0.97)
    assert filled.get_run(run_id).info.status == RunStatus.to_string(RunStatus.FINISHED)


def test_notes_are_added_to_the_description(filled, monkeypatch):
    monkeypatch.setenv("RANZCR_AUTHOR", "ada")
    run_id = notes.note("b7v3_001", "too long\n by half")
    notes.note(run_id[:8], "again")
    about, first, second = description(filled, run_id).split("\n\n")
    assert about == config.load("b7v3_001").about
    assert re.fullmatch(r"20\d\d-\d\d-\d\d ada: too long by half", first)
    assert second.endswith(" ada: again")


def test_training_again_keeps_the_notes(filled):
    run_id = notes.note("b7v3_001", "keep me")
    single("b7v3_001", 0.9)
    assert "keep me" in description(filled, run_id)


def test_a_full_description_is_not_cut(filled):
    run_id = notes.note("b7v3_001", "a" * 7000)
    with pytest.raises(TrackingError, match="the description of b7v3_001 would have"):
        notes.note("b7v3_001", "b" * 1000)
    assert "b" * 1000 not in description(filled, run_id)


def test_a_decision_is_shown_unchanged_and_stored_with_author_and_time(filled, monkeypatch):
    monkeypatch.setenv("RANZCR_AUTHOR", "ada")
    run_id = notes.decide("b7v3_001", "drop")
    notes.decide("b7v3_001", "[/keep] :eyes:")
    tags = filled.get_run(run_id).data.tags
    assert (tags["decision"], tags["decided_by"]) == ("[/keep] :eyes:", "ada")
    assert re.match(r"20\d\d-\d\d-\d\dT", tags["decided_at"])
    assert "[/keep] :eyes:" in show.render(rows.select())


@pytest.mark.parametrize(
    "write", [lambda name: notes.note(name, "x"), lambda name: notes.decide(name, "x")]
)
def test_nothing_is_written_to_an_unknown_run(filled, write):
    with pytest.raises(TrackingError, match=r"no run 'b7v3_002'.*did you mean b7v3_001"):
        write("b7v3_002")
