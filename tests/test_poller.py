"""Each event is sent once, over restarts and outages of the chat or of MLflow."""

from __future__ import annotations

import time

import pytest
from chat import running_chat
from journal_fixtures import PASSED
from typer.testing import CliRunner

from ranzcr import cli, config, notify, poller
from ranzcr.cli import notify as command
from ranzcr.errors import TrackingError
from ranzcr.home import home
from ranzcr.registry import candidates, ledger, registry
from ranzcr.registry.gates import Gate, GateReport
from ranzcr.tracking import context
from ranzcr.tracking.names import Tag

FAILED = GateReport((*PASSED.gates, Gate("parity", False, 0.1, 1e-4, "differs by 0.1")))
SCORED = {"cv_auc": 0.9}
DAY = 24 * 3600 * 1000  # milliseconds


class Sent(list):
    """The events that were sent; while `away`, the chat accepts none."""

    away = False

    def __call__(self, event):
        if self.away:
            raise TrackingError("the chat is away")
        self.append(event)

    @property
    def titles(self):
        return [event.title for event in self]


@pytest.fixture
def sent(journal):
    """A chat after the first poll of an empty journal."""
    sent = Sent()
    poller.poll(sent)
    return sent


def ensemble(metrics, fail=False):
    """Record an ensemble whose run ended; returns the run's id."""
    settings = {"dataset_digest": "d" * 64, "method": "weights", "digest": "b"}
    try:
        with context.ensemble_run({"a": 0.5, "b": 0.5}, **settings) as run:
            run.log_metrics(metrics)
            if fail:
                raise RuntimeError
    except RuntimeError:
        pass
    return run.run_id


def test_the_first_poll_sends_no_history(journal, candidate):
    registry.promote(candidate(), who="Ada", why="first")
    sent = Sent()
    assert poller.poll(sent) == 0
    assert poller.poll(sent) == 0
    assert sent == []


def test_a_promotion_failed_gates_and_runs_are_sent_once(sent, candidate):
    registry.promote(candidate("first"), who="Ada", why="good")
    candidate("second", FAILED)
    assert poller.poll(sent) == 4
    assert sorted(sent.titles) == [
        "ensemble tiny: CV 0.8000",
        "ensemble tiny: CV 0.8000",
        "ranzcr-clip: candidate 1 promoted",
        "ranzcr-clip: candidate 2 failed its gates",
    ]
    assert poller.poll(sent) == 0


def test_promotions_rollbacks_and_rejections_are_sent_with_who_and_why(three):
    sent = Sent()
    poller.poll(sent)
    registry.promote("1", who="Ada", why="first")
    registry.promote("2", who="Ada", why="better")
    registry.rollback(who="Bob", why="worse")
    registry.reject("3", who="Bob", why="too\nslow")
    poller.poll(sent)
    assert sent.titles == [
        "ranzcr-clip: candidate 1 promoted",
        "ranzcr-clip: candidate 2 promoted",
        "ranzcr-clip: candidate 1 brought back",
        "ranzcr-clip: candidate 3 rejected",
    ]
    assert sent[0].facts[:3] == (("version", "1"), ("by", "Ada"), ("why", "first"))
    assert sent[-1].facts == (("by", "Bob"), ("why", "too slow"))


def test_failed_gates_are_sent_with_their_results(sent, candidate):
    candidate(report=FAILED)
    poller.poll(sent)
    assert ("parity", "differs by 0.1") in sent[0].facts


def test_a_request_for_approval_is_sent(sent, candidate, journal):
    version = candidates.find(journal, candidate())
    candidates.request(journal, version, "Ada", "best yet")
    poller.poll(sent)
    assert sent[0].title == "ranzcr-clip: candidate 1 approval asked for"
    assert sent[0].facts == (("by", "Ada"), ("why", "best yet"))


def test_a_promotion_that_was_cut_off_is_not_sent(sent, candidate, journal):
    first = candidate()
    registry.approve(first, who="Bob", why="fast enough")
    journal.delete_registered_model_alias(registry.PRODUCTION, registry.CHAMPION)
    poller.poll(sent)
    assert sent.titles == ["ensemble tiny: CV 0.8000"]


def test_a_ledger_that_was_changed_by_hand_is_sent(sent, candidate, journal):
    registry.promote(candidate(), who="Ada", why="good")
    poller.poll(sent)
    line = journal.get_model_version(ledger.PRODUCTION, "1").tags[ledger.TAG]
    forged = line.replace('"Ada"', '"Eve"')
    assert forged != line
    journal.set_model_version_tag(ledger.PRODUCTION, "1", ledger.TAG, forged)
    poller.poll(sent)
    assert "ranzcr-clip: the ledger was changed by hand" in sent.titles


def test_a_scored_run_is_sent_with_its_interval_and_its_page(sent):
    run_id = ensemble({"cv_auc": 0.9612, "cv_auc_lo": 0.95, "cv_auc_hi": 0.97})
    poller.poll(sent)
    (event,) = sent
    assert event.title == "ensemble a+b: CV 0.9612"
    assert ("95 %", "0.9500 to 0.9700") in event.facts
    name, page = event.facts[-1]
    assert name == "run"
    assert page.startswith("http://")
    assert page.endswith(run_id)


def test_a_run_without_a_score_and_an_imported_one_are_not_sent(sent, journal):
    ensemble({})
    assert poller.poll(sent) == 0
    journal.set_tag(ensemble(SCORED), Tag.IMPORTED_FROM, "old.xlsx")
    assert poller.poll(sent) == 0


def test_a_fold_that_fails_is_sent_once_as_its_experiment(sent):
    def fold(error=None):
        with context.fold_run(
            config.load("smoke_a"), dataset_digest="d" * 64, fold=0, labels=["a"]
        ):
            if error:
                raise error

    fold()
    assert poller.poll(sent) == 0
    with pytest.raises(RuntimeError):
        fold(RuntimeError())
    poller.poll(sent)
    assert sent.titles == ["single smoke_a failed"]


def test_an_event_that_the_chat_did_not_accept_is_sent_later(sent):
    ensemble(SCORED)
    sent.away = True
    with pytest.raises(TrackingError, match="the chat is away"):
        poller.poll(sent)
    sent.away = False
    assert poller.poll(sent) == 1
    assert sent.titles == ["ensemble a+b: CV 0.9000"]


def test_an_outage_halfway_repeats_nothing(sent, candidate):
    candidate("first", FAILED)

    def breaks_after_one(event):
        if len(sent) == 1:
            raise TrackingError("away")
        sent(event)

    with pytest.raises(TrackingError):
        poller.poll(breaks_after_one)
    poller.poll(sent)
    assert sorted(sent.titles) == [
        "ensemble tiny: CV 0.8000",
        "ranzcr-clip: candidate 1 failed its gates",
    ]


def test_a_run_that_fails_again_after_it_continued_is_sent_again(sent, journal):
    run_id = ensemble({}, fail=True)
    poller.poll(sent)
    journal.update_run(run_id, status="RUNNING")
    poller.poll(sent)
    ensemble({}, fail=True)
    poller.poll(sent)
    assert sent.titles == ["ensemble a+b failed"] * 2


def test_a_run_whose_end_reaches_mlflow_days_late_is_sent(sent, journal):
    run_id = ensemble(SCORED)
    ended = journal.get_run(run_id).info.end_time
    journal.set_terminated(run_id, "FINISHED", end_time=ended - 6 * DAY)
    assert poller.poll(sent) == 1


def test_the_state_does_not_grow_with_old_runs(sent, monkeypatch):
    ensemble(SCORED)
    poller.poll(sent)
    monkeypatch.setattr(poller, "_LATE", -1000)
    poller.poll(sent)
    (file,) = (home() / "notify").glob("*.json")
    assert '"told": []' in file.read_text()


def test_a_damaged_state_is_one_line(sent):
    (file,) = (home() / "notify").glob("*.json")
    file.write_text("{")
    with pytest.raises(TrackingError, match=r"\.json: damaged; remove it"):
        poller.poll(sent)


def test_an_event_has_the_key_of_earlier_versions(sent, journal):
    """A poller that is upgraded must not send again what an earlier version sent."""
    event = notify.Event("ranzcr-clip: candidate 1 promoted", (("version", "1"), ("by", "Ada")))
    assert poller._key(event) == "344803e6ab64a74e"


def test_the_command_prints_the_number_of_events(sent, monkeypatch):
    ensemble(SCORED)
    monkeypatch.delenv(f"{notify.URL}_FILE", raising=False)
    with running_chat() as chat:
        monkeypatch.setenv(notify.URL, chat.url)
        result = CliRunner().invoke(cli.app, ["notify", "poll", "--once"])
    assert (result.exit_code, result.output) == (0, "1 events sent\n")
    monkeypatch.delenv(notify.URL)
    result = CliRunner().invoke(cli.app, ["notify", "poll", "--once"])
    assert "RANZCR_WEBHOOK_URL is not set" in str(result.exception)


def test_while_the_chat_is_away_the_poller_prints_it_once_and_goes_on(sent, monkeypatch, capsys):
    ensemble(SCORED)
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    with running_chat() as chat:
        chat.statuses = [404, 404]
        monkeypatch.setenv(notify.URL, chat.url)
        monkeypatch.setattr(time, "sleep", sleep)
        with pytest.raises(KeyboardInterrupt):
            command.poll(every=5)
        assert chat.titles == ["ensemble a+b: CV 0.9000"]
    assert pauses == [5, 5, 5]
    assert capsys.readouterr().err.count("was not sent: answer 404") == 1
