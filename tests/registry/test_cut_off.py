"""Promotions and rollbacks that are killed at any step, and two at once."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from mlflow import MlflowClient

from ranzcr.errors import TrackingError
from ranzcr.registry import ledger, registry, verification
from ranzcr.registry.registry import CANDIDATES, CHAMPION, PRODUCTION

CREATE, MOVE = "create_model_version", "set_registered_model_alias"
GAPS = [(CREATE, "before"), (CREATE, "after"), (MOVE, "before"), (MOVE, "after")]


def promote(version, who="Ada"):
    return registry.promote(str(version), who=who, why="better")


def rollback():
    return registry.rollback(who="Bob", why="failed at night")


def in_use(client):
    """Candidate and version of the champion."""
    version = client.get_model_version_by_alias(PRODUCTION, CHAMPION)
    return ledger.parse(version.tags[ledger.TAG]).candidate_version, version.version


def assert_in_order(client, candidate):
    assert in_use(client)[0] == candidate
    assert verification.verify().findings == ()


@pytest.fixture
def killed(monkeypatch):
    """Runs an act that is killed before or after it calls a step."""

    def run(act, step, when):
        real = getattr(MlflowClient, step)

        def die(*args, **kwargs):
            if when == "after":
                real(*args, **kwargs)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, step, die)
            with pytest.raises(KeyboardInterrupt):
                act()

    return run


@pytest.mark.parametrize("gap", GAPS)
def test_the_same_promotion_again_completes_the_interrupted_one(three, killed, gap):
    promote(1)
    killed(lambda: promote(2), *gap)
    done = promote(2)
    assert (done.version, done.previous) == ("2", "1")
    assert len(ledger.entries(three)) == 2
    assert_in_order(three, "2")


@pytest.mark.parametrize("gap", GAPS)
def test_another_promotion_replaces_the_interrupted_one(three, killed, gap):
    promote(1)
    killed(lambda: promote(2), *gap)
    assert promote(3).changed
    assert_in_order(three, "3")


@pytest.mark.parametrize("gap", GAPS)
def test_a_rollback_after_it_goes_back_from_the_version_in_use(three, killed, gap):
    promote(1)
    promote(2)
    killed(lambda: promote(3), *gap)
    before, _ = in_use(three)
    assert before == ("3" if gap == (MOVE, "after") else "2")
    rollback()
    assert_in_order(three, {"3": "2", "2": "1"}[before])


@pytest.mark.parametrize("gap", GAPS[:3])
def test_the_same_rollback_again_completes_the_interrupted_one(three, killed, gap):
    for version in (1, 2, 3):
        promote(version)
    killed(rollback, *gap)
    done = rollback()
    assert (done.candidate, done.version, done.previous) == ("2", "4", "3")
    assert len(ledger.entries(three)) == 4
    assert_in_order(three, "2")


@pytest.mark.parametrize("gap", GAPS)
def test_a_promotion_replaces_an_interrupted_rollback(three, killed, gap):
    promote(1)
    promote(2)
    killed(rollback, *gap)
    promote(3)
    assert_in_order(three, "3")


@pytest.mark.parametrize(
    ("step", "when"),
    [
        *[("create_registered_model", when) for when in ("before", "after")],
        *[("set_registered_model_tag", when) for when in ("before", "after")],
        *GAPS,
    ],
)
def test_an_interrupted_approval_can_be_repeated(three, killed, step, when):
    def approve():
        return registry.approve("1", who="Pat", why="read 50 studies")

    killed(approve, step, when)
    approve()
    assert len(ledger.entries(three)) == 1
    assert_in_order(three, "1")


@pytest.mark.parametrize("gap", GAPS[1:3])
def test_verify_reports_an_interrupted_promotion_and_how_to_complete_it(three, killed, gap):
    promote(1)
    killed(lambda: promote(2), *gap)
    (finding,) = verification.verify().findings
    assert "is at version 1, the last ledger line at version 2: Ada's promote of candidate 2" in (
        finding
    )
    assert "complete it by ranzcr registry promote 2" in finding


def test_a_killed_process_does_not_block_the_next_one(three):
    program = f"""
import os, signal
from mlflow import MlflowClient
from ranzcr.registry import registry
MlflowClient.{MOVE} = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
registry.promote("1", who="Ada", why="killed")
"""
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert registry.champion() is None
    assert promote(1).version == "1"
    assert len(ledger.entries(three)) == 1
    assert_in_order(three, "1")


def test_of_two_promotions_at_once_one_wins_and_the_other_raises(three, monkeypatch):
    promote(1)
    both_have_looked = threading.Barrier(2, timeout=60)
    real = MlflowClient.create_model_version

    def wait(*args, **kwargs):
        both_have_looked.wait()
        return real(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, CREATE, wait)
    outcomes = {}

    def act(version):
        try:
            outcomes[version] = promote(version, who=f"person {version}")
        except TrackingError as problem:
            outcomes[version] = problem

    threads = [threading.Thread(target=act, args=(version,)) for version in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner, loser = sorted(
        outcomes, key=lambda version: isinstance(outcomes[version], TrackingError)
    )
    assert outcomes[winner].changed
    assert str(outcomes[loser]) == (
        f"candidate {loser} is not in use: person {winner}'s promote of candidate {winner} "
        "(version 2) came at the same time and is; see ranzcr registry list"
    )
    assert_in_order(three, str(winner))
    assert [act.candidate_version for act in ledger.read(three).lost] == [str(loser)]
    monkeypatch.undo()


def test_a_process_that_is_slow_to_move_the_alias_does_not_move_it_back(three, monkeypatch):
    promote(1)
    real = MlflowClient.set_registered_model_alias

    def slow(client, model, alias, version):
        monkeypatch.setattr(MlflowClient, MOVE, real)
        promote(3, who="Bob")
        real(client, model, alias, version)

    monkeypatch.setattr(MlflowClient, MOVE, slow)
    with pytest.raises(TrackingError, match="candidate 2 is not in use: Bob's promote of cand"):
        promote(2)
    assert_in_order(three, "3")
    assert rollback().candidate == "1"  # the second was never in use


def test_an_alias_removed_by_hand_is_not_an_interrupted_promotion(three):
    promote(1)
    promote(2)
    three.delete_registered_model_alias(PRODUCTION, CHAMPION)
    assert promote(2).version == "3"
    assert_in_order(three, "2")
    assert CANDIDATES in three.get_model_version(PRODUCTION, "3").source
