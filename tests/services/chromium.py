"""Debian's Chromium, driven by Playwright, on MLflow's pages."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from playwright.sync_api import Browser, Page, expect, sync_playwright

T = TypeVar("T")

SECONDS = 60  # at most, for a page to show what it should
# The panel of MLflow's assistant would open at the first visit, and cover the columns.
_NO_ASSISTANT = """
    localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
    localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
"""


def executable() -> str | None:
    return shutil.which("chromium")


@contextmanager
def running() -> Iterator[Browser]:
    """Chromium without a window; no sandbox, which root has no right to."""
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=options)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def fresh_page(browser: Browser, width: int, height: int) -> Iterator[Page]:
    """A page of one who was never there before; fails at the end where its code has failed."""
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


def wait_for(read: Callable[[], T], wanted: T) -> None:
    """Return when `read` gives `wanted`; fail with what it gave last."""
    end = time.monotonic() + SECONDS
    while (found := read()) != wanted and time.monotonic() < end:
        time.sleep(0.1)
    assert found == wanted
