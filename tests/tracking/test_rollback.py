"""Back to an earlier champion; what a candidate is; an alias that was moved by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_fixtures import PASSED
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.errors import TrackingError
from ranzcr.tracking import ledger, registry
from ranzcr.tracking.gates import Gate, GateReport

FAILED = GateReport((*PASSED.gates, Gate("parity", False, 0.1, 1e-4, "differs by 0.1")))


@pytest.fixture
def history(candidate):
    """Registers and promotes as many candidates as it is told: candidate 1 as version 1, ..."""

    def make(length):
        for number in range(1, length + 1):
            version = candidate(f"candidate {number}")
            registry.promote(version, who="Ada", why=f"promotion {number}")

    return make


def rollback(why="failed at night"):
    return registry.rollback(who="Bob", why=why)


def ranzcr(*words):
    return CliRunner().invoke(cli.app, ["registry", *words])


def in_use(journal):
    """Which candidate the champion is a copy of."""
    version = journal.get_model_version_by_alias(registry.PRODUCTION, registry.CHAMPION)
    return version.source.rpartition("/")[2]


def test_rollbacks_go_back_step_by_step_until_there_is_nothing_before(journal, history):
    history(3)
    assert (rollback().version, in_use(journal)) == ("4", "2")
    assert (rollback().version, in_use(journal)) == ("5", "1")
    with pytest.raises(TrackingError, match="no champion before version 5; promote another"):
        rollback()
    assert in_use(journal) == "1"
    assert registry.verify() == 5


def test_a_promotion_after_a_rollback_is_rolled_back_to_what_the_rollback_gave(journal, history):
    history(2)
    rollback()
    registry.promote("2", who="Ada", why="mended")
    rollback()
    assert in_use(journal) == "1"
    with pytest.raises(TrackingError, match="no champion before"):
        rollback()


def test_a_rollback_is_an_entry_of_its_own_and_changes_no_other(journal, history):
    history(2)
    before = ledger.entries(journal)
    done = rollback("misses ETTs")
    assert (done.version, done.previous, done.changed) == ("3", "2", True)
    *kept, act = ledger.entries(journal)
    assert kept == before
    assert (act.action, act.who, act.why) == ("rollback", "Bob", "misses ETTs")
    assert (act.candidate_version, act.version, act.previous_version) == ("1", "3", "2")
    assert act.gate_report == PASSED.to_json()
    assert registry.champion().digest == "blend of candidate 1"


def test_a_candidate_that_would_fail_its_gates_today_is_still_rolled_back_to(
    journal, history, candidate
):
    history(2)
    candidate("candidate 1", FAILED)
    rollback()
    assert in_use(journal) == "1"


@pytest.mark.parametrize(
    "step", ["copy_model_version", "set_model_version_tag", "set_registered_model_alias"]
)
def test_a_rollback_that_was_cut_off_is_completed(journal, history, monkeypatch, step):
    history(3)
    with monkeypatch.context() as patch:
        patch.setattr(type(journal), step, _killed)
        with pytest.raises(KeyboardInterrupt):
            rollback()
    done = rollback()
    assert (done.version, done.previous, in_use(journal)) == ("4", "3", "2")
    assert registry.verify() == 4


def test_a_promotion_that_was_cut_off_is_not_taken_for_the_rollback(journal, history, monkeypatch):
    history(2)
    with monkeypatch.context() as patch:
        patch.setattr(type(journal), "set_registered_model_alias", _killed)
        with pytest.raises(KeyboardInterrupt):
            registry.promote("1", who="Ada", why="cut off")
    assert rollback().version == "4"
    assert [act.action for act in ledger.entries(journal)] == [*["promote"] * 3, "rollback"]
    with pytest.raises(TrackingError, match="no champion before"):
        rollback()


def _killed(*args, **kwargs):
    raise KeyboardInterrupt


def test_without_a_champion_there_is_nothing_to_roll_back(journal):
    with pytest.raises(TrackingError, match="ranzcr-clip has no champion to roll back"):
        rollback()


def test_the_first_champion_cannot_be_rolled_back(journal, history):
    history(1)
    with pytest.raises(TrackingError, match="no champion before version 1"):
        rollback()


def test_a_changed_ledger_is_not_rolled_back_by(journal, history):
    history(2)
    journal.delete_model_version_tag(registry.PRODUCTION, "1", ledger.TAG)
    with pytest.raises(TrackingError, match="does not fit the chain"):
        rollback()
    assert in_use(journal) == "2"


def test_an_older_candidate_that_was_deleted_is_named(journal, history):
    history(2)
    journal.delete_model_version(registry.CANDIDATES, "1")
    with pytest.raises(TrackingError, match="candidates has no version 1"):
        rollback()
    assert len(ledger.entries(journal)) == 2


def entry(index, action, candidate):
    return ledger.Entry(
        **{"index": index, "time": "", "who": "", "why": "", "action": action},
        **{"candidate_version": candidate, "version": str(index + 1)},
        **{"previous_version": str(index or ""), "gate_report": {}, "previous_hash": ""},
    )


@given(st.lists(st.booleans(), max_size=30))
def test_the_ledger_is_read_as_a_stack_that_promotions_grow_and_rollbacks_shrink(acts):
    known, stack = [], []  # entries; candidates, the one in use last
    for is_rollback in acts:
        if is_rollback and len(stack) < 2:
            continue
        if is_rollback:
            stack.pop()
        else:
            stack.append(f"candidate {len(known)}")
        action = ledger.ROLLBACK if is_rollback else ledger.PROMOTE
        known.append(entry(len(known), action, stack[-1]))
        found = ledger.before(known, known[-1].version)
        assert (found.candidate_version if found else None) == (stack[-2:-1] or [None])[0]


def test_verify_counts_the_entries(journal, history):
    assert ranzcr("verify").output == "0 entries, chain intact\n"
    history(2)
    assert ranzcr("verify").output == "2 entries, chain intact\n"


def test_an_alias_that_was_moved_by_hand_is_found(journal, history):
    history(2)
    journal.set_registered_model_alias(registry.PRODUCTION, registry.CHAMPION, "1")
    with pytest.raises(
        TrackingError, match=r"at version 1, the last .* version 2: .* by hand"
    ) as e:
        registry.verify()
    assert "set it to version 2 in ranzcr ui" in str(e.value)


def test_an_alias_that_was_removed_by_hand_is_found(journal, history):
    history(1)
    journal.delete_registered_model_alias(registry.PRODUCTION, registry.CHAMPION)
    with pytest.raises(TrackingError, match="at version none, the last ledger entry at version 1"):
        registry.verify()


def test_a_champion_that_no_entry_tells_of_is_found(journal, candidate):
    candidate()
    journal.create_registered_model(registry.PRODUCTION)
    journal.copy_model_version(f"models:/{registry.CANDIDATES}/1", registry.PRODUCTION)
    journal.set_registered_model_alias(registry.PRODUCTION, registry.CHAMPION, "1")
    with pytest.raises(TrackingError, match=r"version 1, .* version none: .* remove it"):
        registry.verify()


def test_a_candidate_is_shown_with_all_that_decides_about_it(journal, history):
    history(2)
    rollback()
    text = ranzcr("show", "1").output
    run = journal.get_model_version(registry.CANDIDATES, "1").run_id
    for told in ("tiny:1.000", "0.8000 [0.700, 0.900]", "d" * 64, run, "good", "gates: pass"):
        assert told in text
    assert "1 by promote, 3 by rollback" in text


def test_a_candidate_that_was_never_promoted_says_so(journal, candidate):
    assert "never promoted" in registry.describe(candidate())


@pytest.mark.parametrize(("report", "code"), [(PASSED, 0), (FAILED, 2)])
def test_the_exit_code_tells_the_verdict_of_the_gates(journal, candidate, report, code):
    done = ranzcr("gate", candidate(report=report))
    assert done.exit_code == code
    assert done.output.startswith("pass  cv: good\n")
    assert ("fail  parity: differs by 0.1" in done.output) == (code == 2)
    assert done.output.endswith(f"candidate version 1: gate {report.result}\n")


@pytest.mark.parametrize("ask", [registry.gate_report, registry.describe])
def test_an_unknown_candidate_is_named(journal, ask):
    with pytest.raises(TrackingError, match="ranzcr-clip-candidates has no version 9"):
        ask("9")


def test_a_candidate_without_a_gate_report_has_no_verdict(journal, candidate):
    journal.delete_model_version_tag(registry.CANDIDATES, candidate(), "gate_report")
    with pytest.raises(TrackingError, match="candidate 1 has no gate report; register"):
        registry.gate_report("1")


def test_a_rollback_by_the_command_line_names_its_author(journal, history, monkeypatch):
    monkeypatch.setenv("RANZCR_AUTHOR", "Grace")
    history(2)
    done = ranzcr("rollback", "--why", "the second failed")
    assert done.output == "champion: version 3 (before: 2)\n"
    assert ledger.entries(journal)[-1].who == "Grace"
