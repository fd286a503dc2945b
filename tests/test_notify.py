"""Messages: their JSON, the URL that stays secret, and chats that refuse or are away."""

from __future__ import annotations

import json

import pytest
from chat import running_chat
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ranzcr import cli, notify
from ranzcr.errors import ConfigError, TrackingError
from ranzcr.notify import Event

PROMOTED = Event("promoted", (("by", "Ada"), ("why", "best by 0.002")))


@pytest.fixture
def chat(monkeypatch):
    monkeypatch.delenv(f"{notify.URL}_FILE", raising=False)
    with running_chat() as chat:
        monkeypatch.setenv(notify.URL, chat.url)
        yield chat


def test_a_message_has_a_preview_and_a_section_per_line(chat):
    notify.post(chat.url, PROMOTED)
    (message,) = chat.messages
    assert message["text"] == "promoted"
    lines = [block["text"]["text"] for block in message["blocks"]]
    assert lines == ["*promoted*", "by: Ada", "why: best by 0.002"]


@given(st.text())
def test_what_people_write_is_not_markup_and_is_not_too_long(text):
    message = notify.message(Event(text, (("why", text),)))
    for block in message["blocks"]:
        line = block["text"]["text"]
        assert not {"<", ">"} & set(line)
        assert "@channel" not in line
        assert len(line) <= 3000
    json.dumps(message)


def test_the_whole_channel_cannot_be_called():
    (block,) = notify.message(Event("<!channel> @here & <http://evil|click>"))["blocks"]
    assert block["text"]["text"] == (
        "*&lt;!channel&gt; @\u200bhere &amp; &lt;http://evil|click&gt;*"
    )


def test_the_url_may_be_in_a_file(monkeypatch, tmp_path):
    monkeypatch.delenv(notify.URL, raising=False)
    (tmp_path / "url").write_text("http://chat\n")
    monkeypatch.setenv(f"{notify.URL}_FILE", str(tmp_path / "url"))
    assert notify.chat_url() == "http://chat"


def test_a_missing_url_is_one_line(monkeypatch, tmp_path):
    monkeypatch.delenv(notify.URL, raising=False)
    monkeypatch.delenv(f"{notify.URL}_FILE", raising=False)
    with pytest.raises(ConfigError, match="RANZCR_WEBHOOK_URL is not set; set it, or"):
        notify.chat_url()
    monkeypatch.setenv(f"{notify.URL}_FILE", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="cannot be read or is empty; write the URL to it"):
        notify.chat_url()


def test_a_busy_chat_is_asked_again(chat):
    chat.statuses = [503]
    notify.post(chat.url, PROMOTED)
    assert chat.titles == ["promoted"]


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (302, 1), (500, 2)])
def test_a_refusal_is_one_line_without_the_url(chat, status, requests):
    chat.statuses = [status] * 2
    with pytest.raises(TrackingError) as error:
        notify.post(chat.url, PROMOTED)
    assert str(error.value) == (
        f"'promoted' was not sent: answer {status} from the receiver that RANZCR_WEBHOOK_URL "
        "names; check it with ranzcr notify test"
    )
    assert chat.requests == requests


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/services/s3cr3t", "s3cr3t", "http://[s3cr3t", "http://\u00e4..s3cr3t/"],
)
def test_an_unreachable_chat_is_one_line_without_the_secret(url):
    with pytest.raises(TrackingError, match="'promoted' was not sent") as error:
        notify.post(url, PROMOTED)
    assert "\n" not in str(error.value)
    assert "s3cr3t" not in str(error.value)


def test_the_test_command_sends_a_message(chat):
    result = CliRunner().invoke(cli.app, ["notify", "test"])
    assert (result.exit_code, result.output) == (0, "sent\n")
    assert chat.titles == ["ranzcr can write here"]
    chat.statuses = [404]
    assert isinstance(CliRunner().invoke(cli.app, ["notify", "test"]).exception, TrackingError)
