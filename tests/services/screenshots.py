"""Save pictures of the journal's views in Chromium for the docs. After `make demo`:

.venv/bin/python tests/services/screenshots.py docs/images smoke_student
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import chromium
from mlflow_servers import MlflowServer
from playwright.sync_api import Browser, TimeoutError

from ranzcr.journal import views
from ranzcr.tracking import place

WIDTH, HEIGHT = 1600, 720  # pixels
SECONDS = 15  # the longest wait for the first run


def main(folder: Path, experiments: list[str]) -> None:
    """Draw each view of the local journal that has runs, and the folds of some experiments."""
    journal = place.tracking_uri()
    with (
        tempfile.TemporaryDirectory() as server_folder,
        MlflowServer(Path(server_folder), backend=journal) as server,
        chromium.running() as browser,
    ):
        os.environ["MLFLOW_TRACKING_URI"] = server.uri
        for link in views.provision(experiments).links:
            draw(browser, link, folder)


def draw(browser: Browser, link: views.Link, folder: Path) -> None:
    picture = folder / f"{re.sub(r'[^a-z0-9]+', '-', link.name.partition(' (')[0].lower())}.png"
    with chromium.fresh_page(browser, WIDTH, HEIGHT) as page:
        page.goto(link.url)
        try:
            page.locator(".ag-row a[href*='/runs/']").first.wait_for(timeout=SECONDS * 1000)
        except TimeoutError:
            print(f"{link.name}: no runs, no picture")
            return
        for button in ("Hide banner", "Toggle sidebar"):
            page.get_by_role("button", name=button).click()
        page.wait_for_timeout(3000)  # milliseconds: charts grow into place
        page.screenshot(path=picture)
    print(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
