"""Runs on a KFP: show, watch, resume, cancel, list and open them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from kfp_server import API, models

from pipelines.client import connection, failures, runs, settings
from ranzcr.errors import ClusterError

BEGAN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # as KFP writes a missing time


@pytest.fixture(autouse=True)
def _fast(fast):
    """Shorten the pauses of every test in this file."""


@pytest.fixture
def kfp(kfp_server):
    return connection.connect(settings.from_environment())


def details(**states: str) -> models.V2beta1RunDetails:
    """Return tasks as KFP reports them: each with a driver and an executor."""
    tasks = []
    for number, (name, state) in enumerate(states.items()):
        start = BEGAN + timedelta(minutes=number)
        for display_name in (f"{name}-driver", name, "executor"):
            tasks.append(
                models.V2beta1PipelineTaskDetail(
                    display_name=display_name,
                    state=state,
                    start_time=start,
                    end_time=NEVER if state == "RUNNING" else start + timedelta(seconds=75),
                )
            )
    return models.V2beta1RunDetails(task_details=tasks)


def test_status_shows_the_tasks_without_the_drivers_of_kfp(ranzcr, kfp_server):
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


def test_waiting_reports_each_change_once_and_ends_with_success(ranzcr, kfp_server):
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
def test_waiting_ends_with_exit_code_2_if_the_run_does_not_succeed(ranzcr, kfp_server, end):
    error = models.GoogleRpcStatus(message="step train failed")
    tasks = details(ingest="SUCCEEDED", train="FAILED")
    kfp_server.add_run("tiny-1", "RUNNING", run_details=tasks, error=error)
    kfp_server.script = ["RUNNING", "PAUSED", "CANCELING", end]
    code, _, err = ranzcr("pipeline", "status", "tiny-1", "--wait")
    assert code == 2
    assert f"ranzcr: run tiny-1 {end} at train: step train failed; ranzcr pipeline logs" in err


def test_without_wait_a_failed_run_is_not_an_error(ranzcr, kfp_server):
    kfp_server.add_run("tiny-1", "FAILED")
    assert ranzcr("pipeline", "status", "tiny-1")[0] == 0


@pytest.mark.parametrize("how", [503, "lost", "cut", "silent"])
def test_a_kfp_that_restarts_is_waited_for(kfp, kfp_server, how):
    run = kfp_server.add_run("tiny-1", "RUNNING")
    kfp_server.fail(f"GET {API}/runs/.*", how, times=4)
    kfp_server.script = ["SUCCEEDED"]
    assert runs.watch(kfp, run.run_id, print).state == "SUCCEEDED"


def test_waiting_ends_if_kfp_does_not_come_back(kfp, kfp_server, monkeypatch):
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
def test_a_run_that_did_not_fail_cannot_be_resumed(ranzcr, kfp_server, state):
    kfp_server.add_run("tiny-1", state)
    code, _, err = ranzcr("pipeline", "resume", "tiny-1")
    assert (code, err) == (2, f"ranzcr: run tiny-1 is {state}; there is nothing to resume\n")
    assert kfp_server.lines("POST") == []


@pytest.mark.parametrize("how", ["lost", "cut"])
def test_a_run_is_resumed_once_if_the_answer_is_lost(ranzcr, kfp_server, how):
    kfp_server.add_run("tiny-1", "FAILED")
    kfp_server.fail("POST .*:retry", how)
    assert ranzcr("pipeline", "resume", "tiny-1")[0] == 0
    assert len(kfp_server.lines("POST")) == 1


def test_a_failure_to_resume_is_one_line(ranzcr, kfp_server):
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
def test_cancel_leaves_a_finished_or_ending_run_as_it_is(ranzcr, kfp_server, state):
    kfp_server.add_run("tiny-1", state)
    code, out, _ = ranzcr("pipeline", "cancel", "tiny-1")
    assert (code, out) == (0, f"tiny-1: {state}\n")
    assert kfp_server.lines("POST") == []


def test_cancel_reports_the_end_of_a_run_that_has_just_finished(ranzcr, kfp_server):
    """KFP refuses to cancel a finished run with 400."""
    kfp_server.add_run("tiny-1", "RUNNING")
    kfp_server.script = ["RUNNING", "SUCCEEDED", "SUCCEEDED"]
    kfp_server.fail("POST .*:terminate", 400)
    assert ranzcr("pipeline", "cancel", "tiny-1")[:2] == (0, "tiny-1: SUCCEEDED\n")


def test_a_refused_cancellation_is_one_line(ranzcr, kfp_server):
    kfp_server.add_run("tiny-1", "RUNNING")
    kfp_server.fail("POST .*:terminate", 403)
    code, _, err = ranzcr("pipeline", "cancel", "tiny-1")
    assert (code, err.count("\n")) == (2, 1)
    assert "forbids it (403, cancelling tiny-1)" in err


def names_in(out: str) -> list[str]:
    return [line.split()[0] for line in out.splitlines()[3:]]


def test_list_shows_the_newest_first_page_by_page(ranzcr, kfp_server, monkeypatch):
    monkeypatch.setattr(runs, "_PAGE", 2)
    for number in range(7):
        kfp_server.add_run(f"tiny-{number}", "SUCCEEDED")
    assert names_in(ranzcr("pipeline", "list", "--limit", "5")[1]) == [
        "tiny-6",
        "tiny-5",
        "tiny-4",
        "tiny-3",
        "tiny-2",
    ]
    assert len(names_in(ranzcr("pipeline", "list")[1])) == 7


def test_list_filters_by_state_and_name(ranzcr, kfp_server):
    for name, state in [("tiny-1", "FAILED"), ("tiny-2", "RUNNING"), ("nightly-1", "FAILED")]:
        kfp_server.add_run(name, state)
    assert names_in(ranzcr("pipeline", "list", "--state", "failed")[1]) == ["nightly-1", "tiny-1"]
    assert names_in(ranzcr("pipeline", "list", "--state", "FAILED", "--name", "tiny")[1]) == [
        "tiny-1"
    ]


def test_an_unknown_state_is_one_line(ranzcr, kfp_server):
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
