"""Schedules: cron as KFP reads it, and one schedule per pipeline."""

from __future__ import annotations

import json

import pytest
import yaml
from kfp_server import API

from pipelines.client import schedules
from ranzcr.errors import ConfigError


@pytest.fixture
def schedule(ranzcr, package, kfp_server, fast):
    def _schedule(cron: str, *options: str):
        return ranzcr(
            "pipeline", "schedule", package, "--cron", cron, "--data", "s3://clip", *options
        )

    return _schedule


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("0 2 * * *", "0 0 2 * * *"),
        ("30 0 2 * * *", "30 0 2 * * *"),
        ("*/15 * * * *", "0 */15 * * * *"),
        ("0 9 ? * MON-FRI", "0 0 9 ? * MON-FRI"),
        ("0 0,12 1 jan,JUL *", "0 0 0,12 1 jan,JUL *"),
        ("0 8-18/2 * * 1,3,5", "0 0 8-18/2 * * 1,3,5"),
        ("  0   2 * *  * ", "0 0 2 * * *"),
        ("@daily", "@daily"),
    ],
)
def test_cron_is_sent_with_seconds(text, sent):
    assert schedules.cron(text) == sent


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 2 * *", r"has 4 fields; write six \(second, minute, hour, day of the month, month"),
        ("", "has 0 fields"),
        ("0 0 0 2 * * *", "has 7 fields"),
        ("60 2 * * *", "'60' is not a valid minute, 0 to 59"),
        ("0 24 * * *", "'24' is not a valid hour, 0 to 23"),
        ("0 2 0 * *", "'0' is not a valid day of the month, 1 to 31"),
        ("0 2 * 13 *", "'13' is not a valid month"),
        ("0 2 * * 7", "'7' is not a valid day of the week, 0 to 6"),
        ("0 2 * * FUN", "'FUN' is not a valid day of the week"),
        ("5-1 2 * * *", "'5-1' is not a valid minute"),
        ("*/0 * * * *", r"'\*/0' is not a valid minute"),
        ("*/x * * * *", r"'\*/x' is not a valid minute"),
        ("1,,2 * * * *", "'' is not a valid minute"),
        ("@dayly", "unknown; did you mean @daily"),
    ],
)
def test_a_cron_that_kfp_cannot_read_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        schedules.cron(text)


def test_a_schedule_is_created_and_reported(schedule, kfp_server):
    code, out, err = schedule("0 2 * * *", "--mlflow-plugin")
    assert (code, err) == (0, "")
    assert out == "tiny: cron 0 0 2 * * * (second minute hour day month weekday), UTC\n"
    (created,) = kfp_server.schedules
    assert created.trigger.cron_schedule.cron == "0 0 2 * * *"
    assert (created.status, created.max_concurrency, created.no_catchup) == ("ENABLED", "1", True)
    assert created.runtime_config.parameters == {"source": "s3://clip"}
    assert created.service_account == "pipeline-runner"
    assert created.plugins_input == {"mlflow": {"experiment_name": "ranzcr-clip"}}


def test_the_same_schedule_again_changes_nothing(schedule, kfp_server):
    schedule("0 2 * * *")
    before = kfp_server.schedules[0].recurring_run_id
    assert schedule("0 0 2 * * *")[0] == 0
    assert [item.recurring_run_id for item in kfp_server.schedules] == [before]


def test_another_time_replaces_the_schedule(schedule, kfp_server):
    schedule("0 2 * * *")
    code, _, err = schedule("0 3 * * *")
    assert (code, err) == (0, "tiny: replaced the schedule 0 0 2 * * *\n")
    assert [item.trigger.cron_schedule.cron for item in kfp_server.schedules] == ["0 0 3 * * *"]


@pytest.mark.parametrize("how", ["lost", "cut"])
def test_a_schedule_is_created_once_if_the_answer_is_lost(schedule, kfp_server, how):
    kfp_server.fail(f"POST {API}/recurringruns", how)
    assert schedule("0 2 * * *")[0] == 0
    assert len(kfp_server.schedules) == 1


def test_a_refused_schedule_leaves_the_old_schedule(schedule, kfp_server):
    schedule("0 2 * * *")
    kfp_server.fail(f"POST {API}/recurringruns", 500)
    code, _, err = schedule("0 3 * * *")
    assert code == 2
    assert "(500, schedule tiny)" in err
    assert [item.trigger.cron_schedule.cron for item in kfp_server.schedules] == ["0 0 2 * * *"]


@pytest.mark.parametrize("by_file", [False, True])
def test_a_schedule_is_removed(schedule, ranzcr, kfp_server, package, by_file):
    schedule("0 2 * * *")
    pipeline = package if by_file else "tiny"
    assert ranzcr("pipeline", "schedule", pipeline, "--off")[1] == "tiny: 1 schedules removed\n"
    assert kfp_server.schedules == []
    assert ranzcr("pipeline", "schedule", pipeline, "--off")[1] == "tiny: 0 schedules removed\n"


def test_a_dry_run_prints_the_request_that_is_then_sent(schedule, kfp_server):
    requests = next(yaml.safe_load_all(schedule("0 2 * * *", "--dry-run")[1]))
    assert kfp_server.requests == []
    shown = requests[-1]
    assert shown["POST"] == f"{API}/recurringruns"
    schedule("0 2 * * *")
    sent = json.loads(kfp_server.requests[-2].body)
    for body in (sent, shown["body"]):
        body.pop("experiment_id")
        body.pop("pipeline_version_reference")
    assert sent == shown["body"]


@pytest.mark.parametrize("options", [[], ["--cron", "@daily", "--off"]])
def test_a_schedule_needs_either_a_time_or_off(ranzcr, options):
    code, _, err = ranzcr("pipeline", "schedule", "tiny", *options)
    assert (code, err) == (2, "ranzcr: give either --cron or --off\n")
