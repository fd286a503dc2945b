"""Waivers, approvals and rejections, and who may decide."""

import json

import pytest
from journal_fixtures import PASSED
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.errors import TrackingError
from ranzcr.registry import decisions, ledger, registry, roles
from ranzcr.registry.gates import Gate, GateReport

SLOW = Gate("latency", False, 70.0, 60.0, "70 s per image", low_is_good=True)
UNWAIVABLE = Gate("parity", False, 0.1, 1e-4, "differs by 0.1", waivable=False)


def ranzcr(*words):
    return CliRunner().invoke(cli.app, ["registry", *words])


def waive(version="1", gate="latency", who="Bob"):
    return registry.waive(version, gate, why="served on a GPU", who=who)


def judged(*gates):
    return GateReport((*PASSED.gates, *gates))


def results():
    return {gate.name: gate.result for gate in registry.standing("1").report.gates}


def test_a_waived_failure_is_promoted_and_the_ledger_says_who_waived_it(journal, candidate):
    candidate(report=judged(SLOW))
    with pytest.raises(TrackingError, match="did not pass its gates"):
        registry.promote("1", why="now")
    waive()
    assert results() == {"cv": "pass", "latency": "waived"}
    assert registry.promote("1", why="now").changed
    (entry,) = ledger.entries(journal)
    waiver = entry.gate_report["gates"][1]["waiver"]
    assert (waiver["who"], waiver["why"]) == ("Bob", "served on a GPU")
    assert "latency by Bob" in ledger.render()
    assert "waived by Bob on 20" in ranzcr("show", "1").output


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("parity", "gate parity may not be waived; fix what it found: differs by 0.1"),
        ("cv", "gate cv of candidate 1 passed and needs no waiver"),
        ("latancy", "candidate 1 has no gate 'latancy'; did you mean latency?"),
    ],
)
def test_a_waiver_that_is_not_possible_is_one_line(journal, candidate, gate, message):
    candidate(report=judged(SLOW, UNWAIVABLE))
    with pytest.raises(TrackingError) as raised:
        waive(gate=gate)
    assert str(raised.value) == message


def test_a_waiver_holds_until_the_value_is_worse_and_is_then_shown_as_void(journal, candidate):
    candidate(report=judged(SLOW))
    waive()
    candidate(report=judged(Gate("latency", False, 65.0, 60.0, "65 s", low_is_good=True)))
    assert results()["latency"] == "waived"
    candidate(report=judged(Gate("latency", False, 90.0, 60.0, "90 s", low_is_good=True)))
    assert results()["latency"] == "fail"
    shown = ranzcr("gate", "1")
    assert shown.exit_code == 2
    assert "void  latency: waived by Bob on 20" in shown.output
    with pytest.raises(TrackingError, match="did not pass its gates"):
        registry.promote("1", why="now")


def test_a_waiver_in_the_tags_of_the_candidate_does_not_count(journal, candidate):
    report = judged(SLOW)
    waiver = decisions.Waiver(
        **{"gate": "latency", "digest": "x", "who": "Eve", "when": "2026-01-01", "why": "mine"},
        **{"value": 70.0, "text": "70 s per image", "against": None},
    )
    forged = GateReport((PASSED.gates[0], SLOW.waived(waiver)))
    assert forged.result == "pass"
    candidate(report=forged)
    assert results()["latency"] == "fail"
    candidate(report=report)
    assert results()["latency"] == "fail"


def test_a_waiver_that_was_changed_by_hand_does_not_count(journal, candidate):
    candidate(report=judged(SLOW))
    waive()
    tags = journal.get_registered_model(registry.PRODUCTION).tags
    forged = tags["waiver.1.latency"].replace("Bob", "Eve")
    journal.set_registered_model_tag(registry.PRODUCTION, "waiver.1.latency", forged)
    assert results()["latency"] == "fail"
    assert decisions.read(journal).edited == ("waiver.1.latency",)


def test_a_rejected_candidate_is_promoted_only_after_an_approval(three):
    registry.reject("2", why="misses ETTs", who="Bob")
    with pytest.raises(TrackingError, match=r"candidate 2 was rejected by Bob on .*: misses ETTs"):
        registry.promote("2", why="now")
    assert registry.champion() is None
    assert "rejected by Bob" in ranzcr("list").output
    assert registry.approve("2", why="looked again", who="Cy").changed
    assert ledger.entries(three)[-1].who == "Cy"
    registry.promote("1", why="other")
    assert registry.promote("2", why="approved since").changed


def test_a_verdict_that_was_changed_by_hand_stops_a_promotion(three):
    registry.reject("1", why="misses ETTs", who="Bob")
    verdict = three.get_registered_model(registry.PRODUCTION).tags["verdict.1"]
    forged = json.dumps({**json.loads(verdict), "verdict": "approved"})
    three.set_registered_model_tag(registry.PRODUCTION, "verdict.1", forged)
    with pytest.raises(TrackingError, match="verdict on candidate 1 was changed by hand"):
        registry.promote("1", why="now")


@pytest.fixture
def user(monkeypatch):
    """Makes the server know us by a name, as with roles."""

    def be(name):
        monkeypatch.setattr(roles, "user", lambda client: name)

    return be


def test_with_roles_a_promotion_waits_for_a_second_person(three, user):
    user("Tess")
    promotion = registry.promote("2", why="0.01 better")
    assert (promotion.waits, promotion.changed, promotion.version) == (True, False, "")
    assert promotion.summary == (
        "candidate 2 waits for an approver: ranzcr registry approve 2 --why ..."
    )
    assert registry.champion() is None
    assert "waits for an approver, requested by Tess: 0.01 better" in ranzcr("list").output
    user("Pat")
    done = registry.approve("challenger", why="read 50 studies")
    assert (done.candidate, done.version, done.waits) == ("2", "1", False)
    (entry,) = ledger.entries(three)
    assert (entry.who, entry.registered_by) == ("Pat", "Ada")
    assert "waits" not in ranzcr("list").output
    assert registry.promote("2", why="again").waits is False


@pytest.mark.parametrize("name", ["Ada", "Tess"])
def test_nobody_approves_a_candidate_that_they_registered_or_requested(three, user, name):
    user("Tess")
    registry.promote("1", why="better")
    user(name)
    with pytest.raises(TrackingError) as raised:
        registry.approve("1", why="mine")
    assert str(raised.value) == (
        f"candidate 1 was registered or requested by {name}; another approver must approve it"
    )
    assert registry.champion() is None


def test_a_request_for_a_failed_or_rejected_candidate_is_refused(journal, candidate, user):
    user("Tess")
    candidate(report=judged(SLOW))
    with pytest.raises(TrackingError, match="did not pass its gates"):
        registry.promote("1", why="now")
    candidate(report=PASSED)
    user("Pat")
    registry.reject("1", why="no")
    user("Tess")
    with pytest.raises(TrackingError, match="was rejected by Pat"):
        registry.promote("1", why="now")


def test_a_rejection_ends_the_wait(three, user):
    user("Tess")
    registry.promote("1", why="better")
    assert registry.standing("1").waiting.who == "Tess"
    user("Pat")
    registry.reject("1", why="no")
    assert registry.standing("1").waiting is None
    assert registry.standing("1").verdict.verdict == "rejected"


def test_a_waiver_by_the_command_line_needs_a_reason(three):
    done = ranzcr("gate", "1", "--waive", "cv")
    assert "give --waive GATE and --why TEXT together" in str(done.exception)


@pytest.mark.parametrize(("gates", "code"), [((), 0), ((SLOW,), 2)])
def test_the_exit_code_is_the_verdict_of_the_gates(journal, candidate, gates, code):
    done = ranzcr("gate", candidate(report=judged(*gates)))
    assert done.exit_code == code
    assert done.output.startswith("pass  cv: good\n")
    assert ("fail  latency: 70 s per image" in done.output) == (code == 2)
    assert done.output.endswith(f"candidate version 1: gate {('pass', 'fail')[code // 2]}\n")


def test_the_commands_promote_reject_approve_and_show(three):
    assert ranzcr("promote", "1", "--why", "x").output == (
        "champion: version 1, candidate 1 (before: none)\n"
    )
    assert ranzcr("reject", "2", "--why", "x").output == "candidate 2: rejected\n"
    assert ranzcr("approve", "2", "--why", "x").output == (
        "champion: version 2, candidate 2 (before: 1)\n"
    )
    ranzcr("rollback", "--why", "x")
    output = ranzcr("show", "champion").output
    run = three.get_model_version(registry.CANDIDATES, "1").run_id
    for text in ("tiny:1.000", "0.8000 [0.700, 0.900]", "d" * 64, run, "good", "gates: pass"):
        assert text in output
    assert "1 by promote, 3 by rollback" in output
    assert "never promoted" in ranzcr("show", "3").output
