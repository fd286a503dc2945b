"""Each event once: over restarts, and where the chat or MLflow is away for a while."""

from __future__ import annotations

import time

import chat as chats
import pytest
from test_notify import FAILED, ensemble
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.cli.notify import poll
from ranzcr.errors import TrackingError
from ranzcr.home import home
from ranzcr.notify import notify, polling
from ranzcr.registry import ledger, registry

SCORED = {"cv_auc": 0.9}


class Told(list):
    """What was told; while `away`, the chat takes nothing."""

    away = False

    def __call__(self, event):
        if self.away:
            raise TrackingError("the chat is away")
        self.append(event.title)


@pytest.fixture
def told(journal):
    """A chat after the first look at an empty journal."""
    told = Told()
    polling.look(told)
    return told


def test_the_first_look_tells_no_history(journal, candidate):
    registry.promote(candidate(), who="Ada", why="first")
    told = Told()
    assert polling.look(told) == 0
    assert polling.look(told) == 0
    assert told == []


def test_an_act_failed_gates_and_a_run_are_told_once(told, candidate, journal):
    registry.promote(candidate("first"), who="Ada", why="good")
    candidate("second", FAILED)
    assert polling.look(told) == 4
    assert sorted(told) == [
        "ensemble tiny: CV 0.8000",
        "ensemble tiny: CV 0.8000",
        "ranzcr-clip: candidate 1 promoted",
        "ranzcr-clip: candidate 2 failed its gates",
    ]
    assert polling.look(told) == 0


def test_a_rejection_is_told_and_an_act_that_was_cut_off_is_not(told, candidate, journal):
    first = candidate()
    registry.reject(first, who="Bob", why="slow")
    polling.look(told)
    assert told == ["ranzcr-clip: candidate 1 rejected", "ensemble tiny: CV 0.8000"]
    registry.approve(first, who="Bob", why="fast enough")
    journal.delete_registered_model_alias(registry.PRODUCTION, registry.CHAMPION)
    assert polling.look(told) == 0


def test_a_ledger_that_was_changed_by_hand_is_told(told, candidate, journal):
    registry.promote(candidate(), who="Ada", why="good")
    polling.look(told)
    line = journal.get_model_version(ledger.PRODUCTION, "1").tags[ledger.TAG]
    forged = line.replace('"Ada"', '"Eve"')
    assert forged != line
    journal.set_model_version_tag(ledger.PRODUCTION, "1", ledger.TAG, forged)
    polling.look(told)
    assert "ranzcr-clip: the ledger was changed by hand" in told


def test_what_the_chat_did_not_take_is_told_later(told, journal):
    ensemble(journal, SCORED)
    told.away = True
    with pytest.raises(TrackingError, match="the chat is away"):
        polling.look(told)
    told.away = False
    assert polling.look(told) == 1
    assert told == ["ensemble a+b: CV 0.9000"]


def test_an_outage_in_the_middle_repeats_nothing(told, journal, candidate):
    candidate("first", FAILED)

    def breaks_after_one(event):
        if len(told) == 1:
            raise TrackingError("away")
        told(event)

    with pytest.raises(TrackingError):
        polling.look(breaks_after_one)
    polling.look(told)
    assert sorted(told) == ["ensemble tiny: CV 0.8000", "ranzcr-clip: candidate 1 failed its gates"]


def test_a_run_that_fails_again_after_it_went_on_is_told_again(told, journal):
    run_id = ensemble(journal, {}, fail=True)
    polling.look(told)
    journal.update_run(run_id, status="RUNNING")
    polling.look(told)
    ensemble(journal, {}, fail=True)
    polling.look(told)
    assert told == ["ensemble a+b failed"] * 2


def test_a_run_whose_end_reaches_mlflow_days_late_is_told(told, journal):
    run_id = ensemble(journal, SCORED)
    ended = journal.get_run(run_id).info.end_time
    journal.set_terminated(run_id, "FINISHED", end_time=ended - 6 * 24 * 3600 * 1000)
    assert polling.look(told) == 1


def test_the_state_does_not_grow_with_runs_of_long_ago(told, journal, monkeypatch):
    ensemble(journal, SCORED)
    polling.look(told)
    monkeypatch.setattr(polling, "_LATE", -1000)
    polling.look(told)
    (file,) = (home() / "notify").glob("*.json")
    assert '"told": []' in file.read_text()


def test_a_damaged_state_is_one_line(told, journal):
    (file,) = (home() / "notify").glob("*.json")
    file.write_text("{")
    with pytest.raises(TrackingError, match=r"\.json: damaged; remove it"):
        polling.look(told)


def test_the_command_says_how_many(told, journal, monkeypatch):
    ensemble(journal, SCORED)
    monkeypatch.setenv(notify.URL, "http://127.0.0.1:9/")
    result = CliRunner().invoke(cli.app, ["notify", "poll", "--once"])
    assert "was not sent" in str(result.exception)
    monkeypatch.delenv(notify.URL)
    assert "RANZCR_WEBHOOK_URL is not set" in str(
        CliRunner().invoke(cli.app, ["notify", "poll", "--once"]).exception
    )


def test_while_the_chat_is_away_the_poller_says_so_once_and_goes_on(
    told, journal, monkeypatch, capsys
):
    ensemble(journal, SCORED)
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    with chats.talking() as chat:
        chat.statuses = [404, 404]
        monkeypatch.setenv(notify.URL, chat.url)
        monkeypatch.setattr(time, "sleep", sleep)
        with pytest.raises(KeyboardInterrupt):
            poll(every=5)
        assert chat.titles == ["ensemble a+b: CV 0.9000"]
    assert looks == [5, 5, 5]
    assert capsys.readouterr().err.count("was not sent: answer 404") == 1
