"""What is told to the chat, how it reads, and that the work goes on where it is away."""

from __future__ import annotations

import json

import chat as chats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_fixtures import PASSED
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.errors import ConfigError, TrackingError
from ranzcr.notify import notify
from ranzcr.notify.notify import Event
from ranzcr.registry import ledger, registry
from ranzcr.registry.decisions import REJECTED, Verdict
from ranzcr.registry.gates import Gate, GateReport
from ranzcr.tracking import context

FAILED = GateReport((*PASSED.gates, Gate("parity", False, 0.1, 1e-4, "differs by 0.1")))


@pytest.fixture
def chat(monkeypatch):
    monkeypatch.delenv(f"{notify.URL}_FILE", raising=False)
    with chats.talking() as open_chat:
        monkeypatch.setenv(notify.URL, open_chat.url)
        yield open_chat


def test_a_promotion_is_told_with_who_and_why(chat, candidate, journal):
    registry.promote(candidate(), who="Ada", why="best by 0.002")
    (entry,) = ledger.entries(journal)
    notify.send(notify.act(entry))
    told = chat.messages[-1]
    assert told["text"] == "ranzcr-clip: candidate 1 promoted"
    lines = [block["text"]["text"] for block in told["blocks"]]
    assert lines[0] == "*ranzcr-clip: candidate 1 promoted*"
    assert lines[1:-1] == ["version: 1", "by: Ada", "why: best by 0.002"]


def test_failed_gates_are_told_with_what_they_found():
    event = notify.gates_failed("7", FAILED)
    assert event.title == "ranzcr-clip: candidate 7 failed its gates"
    assert event.facts == (("parity", "differs by 0.1"),)


def test_a_rejection_is_told():
    verdict = Verdict(verdict=REJECTED, digest="d", who="Bob", when="2026-01-01", why="too\nslow")
    event = notify.rejected("7", verdict)
    assert event.title == "ranzcr-clip: candidate 7 rejected"
    assert event.facts == (("by", "Bob"), ("why", "too slow"))


def ensemble(journal, metrics, fail=False):
    """The run of an ensemble, ended."""
    told = {"dataset_digest": "d" * 64, "method": "weights", "digest": "b"}
    try:
        with context.ensemble_run({"a": 0.5, "b": 0.5}, **told) as run:
            run.log_metrics(metrics)
            if fail:
                raise RuntimeError
    except RuntimeError:
        pass
    return run.run_id


def test_a_scored_run_is_told_with_its_interval_and_its_page(chat, journal):
    run_id = ensemble(journal, {"cv_auc": 0.9612, "cv_auc_lo": 0.95, "cv_auc_hi": 0.97})
    notify.send_end(journal, run_id)
    told = chat.messages[-1]
    assert told["text"] == "ensemble a+b: CV 0.9612"
    lines = [block["text"]["text"] for block in told["blocks"]]
    assert "95 %: 0.9500 to 0.9700" in lines
    assert lines[-1].startswith("run: http://")
    assert lines[-1].endswith(run_id)


def test_a_failed_run_is_told_and_one_without_a_score_is_not(chat, journal):
    run_id = ensemble(journal, {}, fail=True)
    notify.send_end(journal, run_id)
    assert chat.titles[-1] == "ensemble a+b failed"
    ensemble(journal, {})
    assert notify.run_ended(journal.get_run(run_id), "sqlite://") is None


def test_a_row_that_a_table_brought_is_not_told(journal):
    run_id = ensemble(journal, {"cv_auc": 0.9})
    journal.set_tag(run_id, "imported_from", "old.xlsx")
    assert notify.run_ended(journal.get_run(run_id), "sqlite://") is None


@given(st.text())
def test_what_people_wrote_is_no_markup_and_fits(text):
    told = notify.message(
        notify.gates_failed("1", GateReport((Gate("g", False, None, None, text),)))
    )
    for block in told["blocks"]:
        shown = block["text"]["text"]
        assert not {"<", ">"} & set(shown)
        assert "@channel" not in shown
        assert len(shown) <= 3000
    json.dumps(told)


def test_the_whole_channel_cannot_be_called():
    (block,) = notify.message(Event("<!channel> @here & <http://evil|click>"))["blocks"]
    shown = block["text"]["text"]
    assert shown == ("*&lt;!channel&gt; @\u200bhere &amp; &lt;http://evil|click&gt;*")


def test_nothing_is_sent_where_no_url_is_set(monkeypatch, capsys):
    monkeypatch.delenv(notify.URL, raising=False)
    monkeypatch.delenv(f"{notify.URL}_FILE", raising=False)
    notify.send(Event("promoted"))
    assert capsys.readouterr().err == ""


def test_the_url_may_be_in_a_file(chat, monkeypatch, tmp_path):
    (tmp_path / "url").write_text(f"{chat.url}\n")
    monkeypatch.delenv(notify.URL)
    monkeypatch.setenv(f"{notify.URL}_FILE", str(tmp_path / "url"))
    notify.send(Event("promoted"))
    assert chat.titles == ["promoted"]


def test_a_missing_file_is_one_line_and_stops_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv(notify.URL, raising=False)
    monkeypatch.setenv(f"{notify.URL}_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="cannot be read or is empty; write the secret to it"):
        notify.secret(notify.URL)
    notify.send(Event("promoted"))
    assert capsys.readouterr().err.count("\n") == 1


def test_a_busy_chat_is_asked_again(chat):
    chat.statuses = [503]
    notify.post(chat.url, Event("promoted"))
    assert chat.titles == ["promoted"]


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (302, 1), (500, 2)])
def test_a_refusal_is_one_line_without_the_url(chat, capsys, status, requests):
    chat.statuses = [status] * 2
    notify.send(Event("promoted"))
    said = capsys.readouterr().err
    assert said == (
        f"ranzcr: 'promoted' was not sent: answer {status} from the receiver that "
        "RANZCR_WEBHOOK_URL names; check it with ranzcr notify test\n"
    )
    assert chat.requests == requests


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/services/s3cr3t", "s3cr3t", "http://[s3cr3t", "http://\u00e4..s3cr3t/"],
)
def test_a_chat_that_is_not_there_is_one_line_without_the_secret(monkeypatch, capsys, url):
    monkeypatch.setenv(notify.URL, url)
    notify.send(Event("promoted"))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "'promoted' was not sent" in said
    assert "s3cr3t" not in said


def test_an_mlflow_that_is_away_is_one_line(chat, journal, capsys):
    notify.send_end(journal, "0" * 32)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "was not told: MLflow at sqlite://" in said
    assert chat.messages == []


def test_the_test_command_says_what_is_wrong(chat, monkeypatch):
    result = CliRunner().invoke(cli.app, ["notify", "test"])
    assert (result.exit_code, result.output) == (0, "sent\n")
    assert chat.titles == ["ranzcr can write here"]
    chat.statuses = [404]
    assert isinstance(CliRunner().invoke(cli.app, ["notify", "test"]).exception, TrackingError)
    monkeypatch.delenv(notify.URL)
    result = CliRunner().invoke(cli.app, ["notify", "test"])
    assert "RANZCR_WEBHOOK_URL is not set" in str(result.exception)
