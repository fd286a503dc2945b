"""Runs on a KFP: looked at, watched, resumed, cancelled, listed, opened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from kfp_server import API, models

from pipelines.client import connection, failures, runs, settings
from ranzcr.errors import ClusterError

BEGAN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # as KFP writes a time that is not yet


@pytest.fixture(autouse=True)
def _fast(fast):
    """Every test here."""


@pytest.fixture
def kfp(kfp_server):
    return connection.connect(settings.from_environment())


def details(**states: str) -> models.V2beta1RunDetails:
    """Tasks as KFP tells them: each with a driver and an executor."""
    found = []
    for place, (name, state) in enumerate(states.items()):
        start = BEGAN + timedelta(minutes=place)
        for shown in (f"{name}-driver", name, "executor"):
            found.append(
                models.V2beta1PipelineTaskDetail(
                    display_name=shown,
                    state=state,
                    start_time=start,
                    end_time=NEVER if state == "RUNNING" else start + timedelta(seconds=75),
                )
            )
    return models.V2beta1RunDetails(task_details=found)


def test_status_shows_the_tasks_and_not_what_kfp_makes_around_them(ranzcr, kfp_server):
    tasks = details(ingest="SUCCEEDED", train="RUNNING")
    run = kfp_server.add_run("tiny-1", "RUNNING", run_details=tasks)
    code, out, _ = ranzcr("pipeline", "status", "tiny-1")
    assert code == 0
    assert f"{kfp_server.url}/#/runs/details/{run.run_id}" in out
    shown = [line.split()[:2] for line in out.splitlines()]
    assert ["ingest", "SUCCEEDED"] in shown
    assert ["train", "RUNNING"] in shown
    assert "0:01:15" in out
    assert "driver" not in out
    assert "executor" not in out


def test_a_run_is_found_by_its_id_too(ranzcr, kfp_server):
    run = kfp_server.add_run("tiny-1", "SUCCEEDED")
    assert "tiny-1" in ranzcr("pipeline", "status", run.run_id)[1]


@pytest.mark.parametrize("command", ["status", "logs", "resume", "cancel", "open"])
def test_an_unknown_run_is_one_line_with_the_nearest_name(ranzcr, kfp_server, command):
    kfp_server.add_run("competition-3f2a9c1b-1", "FAILED")
    code, _, err = ranzcr("pipeline", command, "competition-3f2a9c1b-2")
    assert (code, err.count("\n")) == (2, 1)
    assert "has no run competition-3f2a9c1b-2; did you mean competition-3f2a9c1b-1?" in err


def test_an_unknown_id_on_an_empty_kfp_is_one_line(ranzcr, kfp_server):
    code, _, err = ranzcr("pipeline", "status", "0" * 8 + "-0000-4000-8000-" + "0" * 12)
    assert code == 2
    assert "it has no runs" in err


def test_waiting_tells_each_move_once_and_ends_with_success(ranzcr, kfp_server):
    tasks = details(ingest="SUCCEEDED", train="RUNNING")
    kfp_server.add_run("tiny-1", "PENDING", run_details=tasks)
    kfp_server.script = ["PENDING", "RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    code, out, err = ranzcr("pipeline", "status", "tiny-1", "--wait")
    assert code == 0
    assert err.splitlines() == [
        f"tiny-1: {state}, 1 of 2 tasks done, now train" for state in ("RUNNING", "SUCCEEDED")
    ]
    assert "SUCCEEDED" in out


@pytest.mark.parametrize("end", ["FAILED", "CANCELED", "SKIPPED"])
def test_waiting_ends_with_every_other_end_too_and_exit_code_2(ranzcr, kfp_server, end):
    error = models.GoogleRpcStatus(message="step train failed")
    tasks = details(ingest="SUCCEEDED", train="FAILED")
    kfp_server.add_run("tiny-1", "RUNNING", run_details=tasks, error=error)
    kfp_server.script = ["RUNNING", "PAUSED", "CANCELING", end]
    code, _, err = ranzcr("pipeline", "status", "tiny-1", "--wait")
    assert code == 2
    assert f"ranzcr: run tiny-1 {end} at train: step train failed; ranzcr pipeline logs" in err


def test_without_wait_a_failed_run_is_news_and_no_error(ranzcr, kfp_server):
    kfp_server.add_run("tiny-1", "FAILED")
    assert ranzcr("pipeline", "status", "tiny-1")[0] == 0


@pytest.mark.parametrize("how", [503, "lost", "cut", "silent"])
def test_a_kfp_that_restarts_is_waited_for(kfp, kfp_server, how):
    run = kfp_server.add_run("tiny-1", "RUNNING")
    kfp_server.fail(f"GET {API}/runs/.*", how, times=4)
    kfp_server.script = ["SUCCEEDED"]
    assert runs.watch(kfp, run.run_id, print).state == "SUCCEEDED"


def test_a_kfp_that_stays_away_is_given_up(kfp, kfp_server, monkeypatch):
    monkeypatch.setattr(runs, "_PATIENCE", 0.05)
    run = kfp_server.add_run("tiny-1", "RUNNING")
    kfp_server.fail(f"GET {API}/runs/.*", 503, times=10**6)
    with pytest.raises(failures.NoAnswerError, match=r"cannot answer now \(503, run "):
        runs.watch(kfp, run.run_id, print)


def test_a_refusal_ends_the_waiting(kfp, kfp_server):
    run = kfp_server.add_run("tiny-1", "RUNNING")
    kfp_server.fail(f"GET {API}/runs/.*", 401)
    with pytest.raises(ClusterError, match="does not know you"):
        runs.watch(kfp, run.run_id, print)


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_resume_retries_the_same_run(ranzcr, kfp_server, state):
    run = kfp_server.add_run("tiny-1", state)
    code, out, _ = ranzcr("pipeline", "resume", "tiny-1")
    assert (code, run.state) == (0, "RUNNING")
    assert out.startswith("tiny-1: RUNNING, ")
    assert kfp_server.lines("POST") == [f"POST {API}/runs/{run.run_id}:retry"]


@pytest.mark.parametrize("state", ["SUCCEEDED", "RUNNING", "PENDING"])
def test_there_is_nothing_to_resume_in_a_run_that_did_not_fail(ranzcr, kfp_server, state):
    kfp_server.add_run("tiny-1", state)
    code, _, err = ranzcr("pipeline", "resume", "tiny-1")
    assert (code, err) == (2, f"ranzcr: run tiny-1 is {state}; there is nothing to resume\n")
    assert kfp_server.lines("POST") == []


@pytest.mark.parametrize("how", ["lost", "cut"])
def test_a_resumption_whose_answer_was_lost_is_done_once(ranzcr, kfp_server, how):
    kfp_server.add_run("tiny-1", "FAILED")
    kfp_server.fail("POST .*:retry", how)
    assert ranzcr("pipeline", "resume", "tiny-1")[0] == 0
    assert len(kfp_server.lines("POST")) == 1


def test_a_resumption_that_failed_is_one_line(ranzcr, kfp_server):
    run = kfp_server.add_run("tiny-1", "FAILED")
    kfp_server.fail("POST .*:retry", 500)
    code, _, err = ranzcr("pipeline", "resume", "tiny-1")
    assert (code, run.state) == (2, "FAILED")
    assert "cannot answer now (500, resuming tiny-1)" in err


@pytest.mark.parametrize("how", [None, "lost", "cut"])
def test_cancel_ends_a_run(ranzcr, kfp_server, how):
    kfp_server.add_run("tiny-1", "RUNNING")
    if how:
        kfp_server.fail("POST .*:terminate", how)
    code, out, _ = ranzcr("pipeline", "cancel", "tiny-1")
    assert code == 0
    assert out in ("tiny-1: CANCELING\n", "tiny-1: CANCELED\n")


@pytest.mark.parametrize("state", ["SUCCEEDED", "CANCELING"])
def test_a_run_that_is_over_or_ends_already_stays_as_it_is(ranzcr, kfp_server, state):
    kfp_server.add_run("tiny-1", state)
    code, out, _ = ranzcr("pipeline", "cancel", "tiny-1")
    assert (code, out) == (0, f"tiny-1: {state}\n")
    assert kfp_server.lines("POST") == []


def test_a_run_that_ends_before_it_is_cancelled_tells_its_end(ranzcr, kfp_server):
    """KFP refuses with 400 what is over."""
    kfp_server.add_run("tiny-1", "RUNNING")
    kfp_server.script = ["RUNNING", "SUCCEEDED", "SUCCEEDED"]
    kfp_server.fail("POST .*:terminate", 400)
    assert ranzcr("pipeline", "cancel", "tiny-1")[:2] == (0, "tiny-1: SUCCEEDED\n")


def test_a_cancellation_that_is_refused_is_one_line(ranzcr, kfp_server):
    kfp_server.add_run("tiny-1", "RUNNING")
    kfp_server.fail("POST .*:terminate", 403)
    code, _, err = ranzcr("pipeline", "cancel", "tiny-1")
    assert (code, err.count("\n")) == (2, 1)
    assert "forbids it (403, cancelling tiny-1)" in err


def listed(out: str) -> list[str]:
    return [line.split()[0] for line in out.splitlines()[3:]]


def test_list_shows_the_newest_first_page_by_page(ranzcr, kfp_server, monkeypatch):
    monkeypatch.setattr(runs, "_PAGE", 2)
    for number in range(7):
        kfp_server.add_run(f"tiny-{number}", "SUCCEEDED")
    assert listed(ranzcr("pipeline", "list", "--limit", "5")[1]) == [
        "tiny-6",
        "tiny-5",
        "tiny-4",
        "tiny-3",
        "tiny-2",
    ]
    assert len(listed(ranzcr("pipeline", "list")[1])) == 7


def test_list_filters_by_state_and_name(ranzcr, kfp_server):
    for name, state in [("tiny-1", "FAILED"), ("tiny-2", "RUNNING"), ("nightly-1", "FAILED")]:
        kfp_server.add_run(name, state)
    assert listed(ranzcr("pipeline", "list", "--state", "failed")[1]) == ["nightly-1", "tiny-1"]
    assert listed(ranzcr("pipeline", "list", "--state", "FAILED", "--name", "tiny")[1]) == [
        "tiny-1"
    ]


def test_a_state_that_is_none_is_one_line(ranzcr, kfp_server):
    code, _, err = ranzcr("pipeline", "list", "--state", "FAILD")
    assert (code, err) == (2, "ranzcr: no state 'FAILD'; did you mean FAILED?\n")


def test_open_prints_the_page_and_shows_it(ranzcr, kfp_server, monkeypatch, tmp_path):
    shown = tmp_path / "shown"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {shown}\n')
    browser.chmod(0o755)
    monkeypatch.setattr("webbrowser._tryorder", None)
    monkeypatch.setattr("webbrowser._browsers", {})
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    monkeypatch.setenv("KF_PIPELINES_UI_ENDPOINT", "https://kubeflow.example.com/pipeline/")
    run = kfp_server.add_run("tiny-1", "RUNNING")
    code, out, _ = ranzcr("pipeline", "open", "tiny-1")
    page = f"https://kubeflow.example.com/pipeline/#/runs/details/{run.run_id}\n"
    assert (code, out, shown.read_text()) == (0, page, page)
