"""Promotions on real servers: two processes at once, and two people with different roles."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from journal_fixtures import PASSED, register_copy
from mlflow_servers import become

from ranzcr.errors import TrackingError
from ranzcr.registry import ledger, registry, verification
from ranzcr.registry.gates import Gate, GateReport
from ranzcr.tracking import server

PROMOTE = """
import sys
from ranzcr.errors import one_line
from ranzcr.tracking import server
from ranzcr.registry import registry
server.connect()
print("ready", flush=True)
sys.stdin.readline()
with one_line("promote"):
    print(registry.promote(sys.argv[1], who=sys.argv[1], why="better").summary)
"""


@pytest.fixture
def register(ensemble_folder, blend_folder, tmp_path):
    """Return a function that registers a copy of the ensemble, changed by `name`."""

    def register(name, report=PASSED):
        return register_copy(ensemble_folder, tmp_path / name, blend_folder, report)

    return register


def better_than_champion():
    """Return a gate report that passes against the current champion, if there is one."""
    champion = registry.champion()
    against = champion.digest if champion else ""
    return GateReport((Gate("champion", True, 0.95, 0.9, "better", against=against),))


def start(version):
    process = subprocess.Popen(
        [sys.executable, "-c", PROMOTE, version],
        env=dict(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_of_two_processes_one_promotes_and_the_other_gets_an_error(
    mlflow_server, register, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    report = better_than_champion()
    versions = [register(name, report) for name in ("left", "right")]
    processes = {version: start(version) for version in versions}
    for process in processes.values():
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = {version: process.communicate() for version, process in processes.items()}
    codes = {version: process.returncode for version, process in processes.items()}
    assert sorted(codes.values()) == [0, 2], outputs
    winner, loser = sorted(codes, key=lambda version: codes[version])
    assert f"candidate {winner}" in outputs[winner][0]
    assert outputs[loser][1].startswith("promote: candidate ")
    assert outputs[loser][1].count("\n") == 1
    head = ledger.entries(server.connect())[-1]
    assert (head.candidate_version, registry.champion().version) == (winner, head.version)
    assert verification.verify().findings == ()


def test_a_rollback_on_a_server_restores_the_previous_champion(
    mlflow_server, register, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    for name in ("left", "right"):
        registry.promote(register(name, better_than_champion()), who="Ada", why=name)
    before = registry.champion()
    registry.rollback(who="Bob", why="failed at night")
    assert (before.digest, registry.champion().digest) == ("blend of right", "blend of left")
    assert verification.verify().findings == ()


def test_a_trainer_requests_and_an_approver_decides(guarded_server, team, register, monkeypatch):
    def act_as(role):
        become(guarded_server, team[role], monkeypatch)

    act_as("trainer")
    failing = Gate("latency", False, 70.0, 60.0, "70 s per image", low_is_good=True)
    version = register("by the trainer", GateReport((*better_than_champion().gates, failing)))
    with pytest.raises(TrackingError, match="403") as refused:
        registry.waive(version, "latency", why="mine")
    assert "\n" not in str(refused.value)
    act_as("approver")
    registry.waive(version, "latency", why="served on a GPU")
    act_as("trainer")
    assert registry.promote(version, why="better").waits
    with pytest.raises(TrackingError, match="was registered or requested by the-trainer"):
        registry.approve(version, why="mine")
    act_as("approver")
    registry.reject(version, why="not read yet")
    act_as("trainer")
    with pytest.raises(TrackingError, match="was rejected by the-approver"):
        registry.promote(version, why="better")
    with pytest.raises(TrackingError, match="403"):
        registry.reject(version, why="mine")
    act_as("approver")
    assert registry.approve("challenger", why="read 50 studies").candidate == version
    line = ledger.entries(server.connect())[-1]
    assert (line.who, line.registered_by) == ("the-approver", "the-trainer")
    waiver = line.report.named("latency").waiver
    assert (waiver.who, waiver.why) == ("the-approver", "served on a GPU")
