"""The journal's views in a real browser, opened by their links in a new profile."""

import os
import re
from pathlib import Path

import chromium
import pytest
from mlflow_servers import become
from playwright.sync_api import expect

from ranzcr import config
from ranzcr.errors import TrackingError
from ranzcr.journal import views
from ranzcr.tracking import context

DIGEST = "d" * 64
LABELS = ["ETT - Abnormal", "CVC - Normal"]
SINGLES = {  # experiment -> CV, public and private leaderboard; the last one was never submitted
    "kdb4v3_b71_001": (0.957, 0.966, 0.970),
    "b7v3_001": (0.951, 0.960, 0.964),
    "r200d_staged": (0.948, 0.959, 0.961),
    "smoke_a": (0.803, None, None),
}
ENSEMBLE = "kdb4v3_b71_001+r200d_staged"
CV, LB = ["cv_auc", "cv_auc_lo", "cv_auc_hi"], ["lb_public", "lb_private"]
WITH_LB = [ENSEMBLE, "kdb4v3_b71_001", "b7v3_001", "r200d_staged"]


@pytest.fixture(scope="module")
def links(private_server, tmp_path_factory):
    """Fill a new journal on a server and provision its views; return their links by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", private_server.uri)
        patch.setenv("RANZCR_HOME", str(tmp_path_factory.mktemp("home")))
        fill_journal()
        yield {link.name: link.url for link in views.provision(["b7v3_001"]).links}


def fill_journal():
    """Write single models of two folds, soft labels and an ensemble, with the scores above."""
    for name, (cv, public, private) in SINGLES.items():
        train(config.load(name), cv, {"lb_public": public, "lb_private": private})
    teachers = {"teachers": ["b7v3_001"], "dataset_digest": DIGEST, "digest": "soft"}
    with context.pseudo_run(**teachers, counts={"train": 2}):
        pass
    weights = dict.fromkeys(ENSEMBLE.split("+"), 0.5)
    blend = {"dataset_digest": DIGEST, "method": "weights", "digest": "blend"}
    with context.ensemble_run(weights, **blend) as run:
        run.log_metrics({**scores(0.961), "lb_public": 0.969, "lb_private": 0.972})


def train(experiment, cv, leaderboard):
    for fold in (0, 1):
        settings = {"dataset_digest": DIGEST, "fold": fold, "labels": LABELS}
        with context.fold_run(experiment, **settings, teachers=experiment.teachers) as run:
            for epoch in range(3):
                run.log_epoch(epoch, {"val_auc": cv - 0.1 / 2**epoch, "val_loss": 1 - cv})
            run.log_metrics({"valid_auc": cv + 0.001 * fold, "gpu_hours": 1.5, "seconds": 5400})
    with context.single_run_of(run.run_id) as single:
        single.log_metrics({**scores(cv), **leaderboard})


def scores(cv):
    interval = {"cv_auc": cv, "cv_auc_lo": cv - 0.01, "cv_auc_hi": cv + 0.01}
    return {**interval, **{f"auc/{label}": cv for label in LABELS}}


@pytest.fixture(scope="module")
def browser():
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed; apt install chromium")
    with chromium.running() as browser:
        yield browser


@pytest.fixture
def open_view(browser, links, request, tmp_path):
    """Return a function that opens a view in a new profile; save a screenshot afterwards."""
    folder = Path(os.environ.get("RANZCR_SCREENSHOTS", tmp_path))
    with chromium.fresh_page(browser, width=2400, height=1000) as page:

        def open_view(name):
            page.goto(links[name])
            expect(page.get_by_test_id("saved-views-trigger")).to_have_text(name)
            return page

        yield open_view
        page.screenshot(path=folder / f"{request.node.name}.png")


def expect_runs(page, names):
    """Expect exactly these runs, in this order."""
    expect(page.locator(".ag-row a[href*='/runs/']")).to_have_text(names)


def expect_headings(page, *names):
    """Expect exactly these columns, from left to right."""
    chromium.wait_for(lambda: headings(page), ["Run Name", *names])


def headings(page):
    left = "cells => cells.map(cell => [cell.getBoundingClientRect().x, cell.innerText])"
    cells = page.locator("[role=columnheader][col-id*='`']").evaluate_all(left)
    return [text for _, text in sorted(cells)]


def expect_sections(page, *names):
    """Expect these groups of charts, from top to bottom."""
    expect(page.get_by_test_id("experiment-view-compare-runs-section-header")).to_contain_text(
        list(names)
    )


def charts(page):
    return page.get_by_test_id("experiment-view-compare-runs-card")


def chart(page, title):
    return charts(page).filter(has=page.get_by_text(title, exact=True))


def test_single_models_are_listed_by_cv(open_view):
    page = open_view("Single models by CV")
    expect_runs(page, list(SINGLES))
    model = ["cfg.model.backbone", "cfg.model.head", "cfg.data.image_size"]
    expect_headings(page, *CV, *LB, "gpu_hours", *model, "parent", "folds", "teachers")


def test_ensembles_are_listed_by_cv(open_view):
    page = open_view("Ensembles by CV")
    expect_runs(page, [ENSEMBLE])
    expect_headings(page, *CV, *LB, "method", "weights")


def test_the_folds_of_one_experiment_are_listed(open_view, links):
    (name,) = (name for name in links if name.startswith("Folds of b7v3_001"))
    page = open_view(name)
    expect_runs(page, ["b7v3_001 fold 0", "b7v3_001 fold 1"])
    expect_headings(page, "fold", "seed", "valid_auc", "val_loss", "gpu_hours", "seconds")


def test_heads_are_compared_by_the_mean_of_their_models(open_view):
    page = open_view("Heads compared")
    expect_runs(page, list(SINGLES))
    expect(page.get_by_text(re.compile("^Group: "))).to_have_text(
        ["Group: gap", "Group: attention", "Group: concat"]
    )
    expect(chart(page, "cv_auc").locator(".bartext")).to_have_text(["0.80", "0.95", "0.95"])
    expect_sections(page, "Heads compared(1)", "auc(2)", "Model metrics")
    expect(charts(page)).to_contain_text(["cv_auc", *(f"auc/{label}" for label in sorted(LABELS))])


def test_cv_is_drawn_against_both_leaderboards(open_view):
    page = open_view("CV against leaderboard")
    expect_runs(page, WITH_LB)
    expect(charts(page)).to_have_count(2)
    for board in LB:
        points = chart(page, f"cv_auc vs. {board}")
        expect(points.locator(".xtitle")).to_have_text("cv_auc")
        expect(points.locator(".ytitle")).to_have_text(board)
        expect(points.locator(".point")).to_have_count(len(WITH_LB))


def test_settings_are_drawn_to_cv(open_view):
    page = open_view("Settings to CV")
    expect_runs(page, list(SINGLES))
    lines = chart(page, "Parallel Coordinates")
    heads = ["head", "gap", "concat", "attention"]
    for text in ["backbone", *heads, "drop_path", "image_size", "batch_size", "augment", "cv_auc"]:
        expect(lines).to_contain_text(text)
    expect(charts(page)).to_have_count(1)


def test_the_error_for_a_viewer_says_who_may_write_views(guarded_server, team, monkeypatch):
    become(guarded_server, team["viewer"], monkeypatch)
    with pytest.raises(TrackingError, match=r"the-viewer .*\(403\): a trainer writes the journal"):
        views.provision()
    become(guarded_server, team["trainer"], monkeypatch)
    assert not views.provision().local
