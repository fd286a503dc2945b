"""Gate results: pass, fail or waived, and how long a waiver holds."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.registry.gates import Gate, GateReport, Waiver

LOW = Gate("latency", False, 70.0, 60.0, "70 s per image", low_is_good=True)
HIGH = Gate("champion", False, 0.4, 0.9, "better with probability 0.4", against="old")
WORDS = Gate("audit", False, None, None, "patient p1 is in two folds")


def waiver(gate, digest="content"):
    return Waiver(
        **{"gate": gate.name, "digest": digest, "who": "Bob", "when": "2026-01-02T03:04:05"},
        **{"why": "served on a GPU", "value": gate.value, "text": gate.text},
        against=gate.against,
    )


def result(gate, waiver, digest="content"):
    return GateReport((gate,)).waived([waiver], digest).gates[0].result


@pytest.mark.parametrize("gate", [LOW, HIGH, WORDS])
def test_a_waiver_covers_the_finding_that_was_seen(gate):
    assert gate.result == "fail"
    assert result(gate, waiver(gate)) == "waived"
    assert GateReport((gate,)).waived([waiver(gate)], "content").result == "pass"


@pytest.mark.parametrize("gate", [LOW, HIGH, WORDS])
def test_it_does_not_cover_other_content_or_another_gate(gate):
    assert result(gate, waiver(gate, "other")) == "fail"
    assert result(gate, replace(waiver(gate), gate="cv")) == "fail"


@pytest.mark.parametrize(("gate", "worse"), [(LOW, 70.1), (HIGH, 0.39)])
def test_it_ends_if_the_value_is_worse_and_holds_if_it_is_better(gate, worse):
    assert result(replace(gate, value=worse), waiver(gate)) == "fail"
    better = 2 * gate.value - worse
    assert result(replace(gate, value=better), waiver(gate)) == "waived"


def test_it_ends_if_the_finding_has_another_text():
    assert result(replace(WORDS, text="patients p1 and p2 are"), waiver(WORDS)) == "fail"


def test_it_ends_with_the_champion_that_was_compared():
    assert result(replace(HIGH, against="new"), waiver(HIGH)) == "fail"


def test_noise_of_a_measurement_does_not_end_it():
    noisy = replace(LOW, noise=10.0)
    assert result(replace(noisy, value=79.0), waiver(noisy)) == "waived"
    assert result(replace(noisy, value=81.0), waiver(noisy)) == "fail"


def test_a_gate_that_may_not_be_waived_still_fails():
    assert result(replace(LOW, waivable=False), waiver(LOW)) == "fail"


def test_a_gate_that_passes_needs_no_waiver():
    passed = replace(LOW, passed=True)
    assert result(passed, waiver(LOW)) == "pass"
    assert GateReport((passed,)).waived([waiver(LOW)], "content").gates[0].waiver is None


@given(st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_a_value_no_worse_than_the_waived_one_stays_waived(seen, now, low_is_good):
    gate = replace(HIGH, value=seen, low_is_good=low_is_good)
    no_worse = now <= seen if low_is_good else now >= seen
    assert (result(replace(gate, value=now), waiver(gate)) == "waived") == no_worse


def test_a_comparison_with_an_earlier_champion_fails():
    passed = replace(HIGH, passed=True, value=0.99)
    report = GateReport((passed, replace(WORDS, passed=True)))
    assert report.at_champion("3", "old", "own").result == "pass"
    later = report.at_champion("4", "new", "own")
    assert later.failures == (
        "champion: not compared with the present champion (4); register the ensemble again"
    )
    assert later.gates[0].against == "new"


def test_the_champion_is_not_compared_with_itself():
    report = GateReport((replace(HIGH, passed=True, against=""),))
    assert report.at_champion("4", "own", "own") == report


def test_a_report_with_a_waiver_survives_json():
    report = GateReport((LOW, WORDS)).waived([waiver(LOW)], "content")
    stored = json.loads(json.dumps(report.to_json()))
    assert [gate["result"] for gate in stored["gates"]] == ["waived", "fail"]
    assert GateReport.from_json(stored) == report
