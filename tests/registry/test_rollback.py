"""Back to an earlier champion."""

import pytest
from journal_fixtures import PASSED
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.errors import TrackingError
from ranzcr.registry import ledger, registry, verification
from ranzcr.registry.gates import Gate, GateReport

FAILED = GateReport((*PASSED.gates, Gate("parity", False, 0.1, 1e-4, "differs by 0.1")))


def rollback(why="failed at night"):
    return registry.rollback(who="Bob", why=why)


def promote(*versions):
    for version in versions:
        registry.promote(str(version), who="Ada", why=f"promotion of {version}")


def in_use(journal):
    """Return the candidate that the champion is a copy of."""
    version = journal.get_model_version_by_alias(registry.PRODUCTION, registry.CHAMPION)
    return ledger.parse(version.tags[ledger.TAG]).candidate_version


def test_rollbacks_go_back_step_by_step_until_there_is_nothing_before(three):
    promote(1, 2, 3)
    assert (rollback().version, in_use(three)) == ("4", "2")
    assert (rollback().version, in_use(three)) == ("5", "1")
    with pytest.raises(TrackingError, match="no champion before version 5; promote another"):
        rollback()
    assert in_use(three) == "1"
    assert verification.verify().findings == ()


def test_a_promotion_after_a_rollback_is_rolled_back_to_what_the_rollback_gave(three):
    promote(1, 2)
    rollback()
    promote(2)
    rollback()
    assert in_use(three) == "1"
    with pytest.raises(TrackingError, match="no champion before"):
        rollback()


def test_a_rollback_adds_a_line_and_changes_no_other(three):
    promote(1, 2)
    before = ledger.entries(three)
    done = rollback("misses ETTs")
    assert (done.candidate, done.version, done.previous, done.changed) == ("1", "3", "2", True)
    *kept, act = ledger.entries(three)
    assert tuple(kept) == before
    assert (act.action, act.who, act.why) == ("rollback", "Bob", "misses ETTs")
    assert (act.candidate_version, act.version, act.previous_version) == ("1", "3", "2")
    assert act.gate_report == PASSED.to_json()
    assert registry.champion().digest == "blend of first"
    assert registry.champion().predictions().values.shape == (40, 2)


def test_a_rollback_does_not_judge_the_gates_again(journal, candidate):
    candidate("first")
    candidate("second")
    promote(1, 2)
    candidate("first", FAILED)
    rollback()
    assert in_use(journal) == "1"


def test_a_rollback_needs_no_candidate(three):
    promote(1, 2)
    three.delete_model_version(registry.CANDIDATES, "1")
    assert rollback().version == "3"
    assert registry.champion().digest == "blend of first"


def test_without_a_champion_there_is_nothing_to_roll_back(journal):
    with pytest.raises(TrackingError, match="ranzcr-clip has no champion to roll back"):
        rollback()


def test_the_first_champion_cannot_be_rolled_back(three):
    promote(1)
    with pytest.raises(TrackingError, match="no champion before version 1"):
        rollback()


def test_with_a_changed_ledger_a_rollback_is_refused_and_a_promotion_works(three):
    promote(1, 2)
    three.delete_model_version_tag(registry.PRODUCTION, "1", ledger.TAG)
    with pytest.raises(TrackingError, match="version 1 has no ledger line"):
        rollback()
    assert in_use(three) == "2"
    promote(3)
    assert in_use(three) == "3"


def test_a_rollback_by_the_command_line_names_its_author(three, monkeypatch):
    monkeypatch.setenv("RANZCR_AUTHOR", "Grace")
    promote(1, 2)
    words = ["registry", "rollback", "--why", "the second failed"]
    assert CliRunner().invoke(cli.app, words).output == (
        "champion: version 3, candidate 1 (before: 2)\n"
    )
    assert ledger.entries(three)[-1].who == "Grace"
