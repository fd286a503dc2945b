"""Promotions on real servers: two processes at once, and two persons where there are roles."""

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
    """Registers a copy of the ensemble folder that differs by `name`; its version."""

    def make(name, report=PASSED):
        return register_copy(ensemble_folder, tmp_path / name, blend_folder, report)

    return make


def unopposed():
    """A report that says: better than whoever is champion now."""
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


def test_of_two_processes_one_wins_and_the_other_is_told(mlflow_server, register, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    report = unopposed()
    versions = [register(name, report) for name in ("left", "right")]
    processes = {version: start(version) for version in versions}
    for process in processes.values():
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {version: process.communicate() for version, process in processes.items()}
    codes = {version: process.returncode for version, process in processes.items()}
    assert sorted(codes.values()) == [0, 2], said
    winner, loser = sorted(codes, key=lambda version: codes[version])
    assert f"candidate {winner}" in said[winner][0]
    assert said[loser][1].startswith("promote: candidate ")
    assert said[loser][1].count("\n") == 1
    head = ledger.entries(server.connect())[-1]
    assert (head.candidate_version, registry.champion().version) == (winner, head.version)
    assert verification.verify().findings == ()


def test_a_rollback_on_a_server_brings_back_what_was_there(mlflow_server, register, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    for name in ("left", "right"):
        registry.promote(register(name, unopposed()), who="Ada", why=name)
    before = registry.champion()
    registry.rollback(who="Bob", why="failed at night")
    assert (before.digest, registry.champion().digest) == ("blend of right", "blend of left")
    assert verification.verify().findings == ()


def test_a_trainer_asks_and_an_approver_decides(guarded_server, team, register, monkeypatch):
    def be(role):
        become(guarded_server, team[role], monkeypatch)

    be("trainer")
    failing = Gate("latency", False, 70.0, 60.0, "70 s per image", low_is_good=True)
    version = register("by the trainer", GateReport((*unopposed().gates, failing)))
    with pytest.raises(TrackingError, match="403") as refused:
        registry.waive(version, "latency", why="mine")
    assert "\n" not in str(refused.value)
    be("approver")
    registry.waive(version, "latency", why="served on a GPU")
    be("trainer")
    assert registry.promote(version, why="better").waits
    with pytest.raises(TrackingError, match="was registered or requested by the-trainer"):
        registry.approve(version, why="mine")
    be("approver")
    registry.reject(version, why="not read yet")
    be("trainer")
    with pytest.raises(TrackingError, match="was rejected by the-approver"):
        registry.promote(version, why="better")
    with pytest.raises(TrackingError, match="403"):
        registry.reject(version, why="mine")
    be("approver")
    assert registry.approve("challenger", why="read 50 studies").candidate == version
    entry = ledger.entries(server.connect())[-1]
    assert (entry.who, entry.registered_by) == ("the-approver", "the-trainer")
    waiver = entry.report.named("latency").waiver
    assert (waiver.who, waiver.why) == ("the-approver", "served on a GPU")
