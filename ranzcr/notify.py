"""Post an event to a chat: Slack, Mattermost or another that takes the JSON of Slack's webhooks.

The chat's URL is in RANZCR_WEBHOOK_URL, or in the file that RANZCR_WEBHOOK_URL_FILE names. Whoever
has it can write to the chat. So it is a secret, and appears in no message, log or error.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from ranzcr.errors import ConfigError, TrackingError

URL = "RANZCR_WEBHOOK_URL"
_SECONDS = 4.0  # to connect, and again to answer
_TRIES = 2
_SECTION = 3000  # characters that Slack accepts in one section


@dataclass(frozen=True)
class Event:
    """Something that happened: a title, and facts of one line each in the order to show them."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()


def chat_url() -> str:
    """Return the chat's URL. Raises ConfigError if it is not set or its file cannot be read."""
    url = os.environ.get(URL, "").strip()
    if url:
        return url
    file = os.environ.get(f"{URL}_FILE")
    if not file:
        raise ConfigError(f"{URL} is not set; set it, or {URL}_FILE to a file that holds it")
    try:
        url = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        url = ""
    if not url:
        raise ConfigError(f"{URL}_FILE: {file} cannot be read or is empty; write the URL to it")
    return url


def post(url: str, event: Event) -> None:
    """Post an event. Raises TrackingError, without the URL, if the chat does not accept it."""
    problem = ""
    for _ in range(_TRIES):
        try:
            answer = requests.post(
                url, json=message(event), timeout=_SECONDS, allow_redirects=False, stream=True
            )
        except (OSError, ValueError) as error:  # also those of requests; their text has the URL
            problem = type(error).__name__
            continue
        answer.close()
        if answer.status_code < 300:
            return
        problem = f"answer {answer.status_code}"
        if answer.status_code < 500:
            break
    raise TrackingError(
        f"{event.title!r} was not sent: {problem} from the receiver that {URL} names; "
        "check it with ranzcr notify test"
    )


def message(event: Event) -> dict[str, Any]:
    """Return an event as Slack's JSON: `text` for the preview, `blocks` for the channel."""
    title = _escape(event.title)
    lines = [f"*{title}*", *(_escape(f"{name}: {value}") for name, value in event.facts)]
    sections = [{"type": "section", "text": {"type": "mrkdwn", "text": line}} for line in lines]
    return {"text": title, "blocks": sections}


def _escape(text: str) -> str:
    """Shorten text that people wrote, and disable links and mentions of the whole channel in it."""
    text = text[: _SECTION // 6]  # the longest escape has five characters
    for sign, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("@", "@\u200b")):
        text = text.replace(sign, escape)
    return text
