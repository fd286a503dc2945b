"""Debian's Chromium, driven by Playwright, on MLflow's pages."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from playwright.sync_api import Browser, Page, expect, sync_playwright

T = TypeVar("T")

SECONDS = 60  # the longest wait for a page to show the expected content
# MLflow's assistant opens a panel at the first visit, which would cover the columns.
_NO_ASSISTANT = """
    localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
    localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
"""


def executable() -> str | None:
    """Return the path of Chromium, or None if it is not installed."""
    return shutil.which("chromium")


@contextmanager
def running() -> Iterator[Browser]:
    """Run Chromium without a window, and without its sandbox, which root cannot use."""
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=options)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def fresh_page(browser: Browser, width: int, height: int) -> Iterator[Page]:
    """Open a page in a new profile; fail at the end if its JavaScript raised an error."""
    context = browser.new_context(viewport={"width": width, "height": height})
    context.add_init_script(_NO_ASSISTANT)
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    expect.set_options(timeout=SECONDS * 1000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    assert errors == []


def wait_for(read: Callable[[], T], expected: T) -> None:
    """Return as soon as `read` returns `expected`; else fail with its last value."""
    end = time.monotonic() + SECONDS
    while (value := read()) != expected and time.monotonic() < end:
        time.sleep(0.1)
    assert value == expected
