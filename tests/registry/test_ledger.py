"""The ledger: one chain, even with writers at once, and every edit is detected."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.errors import TrackingError
from ranzcr.registry import ledger

STORED = Path(__file__).with_name("ledger_line.json")


def act(chain, candidate="1", action=ledger.PROMOTE, previous=None):
    """The act that follows a chain."""
    replaced = chain.head.version if chain.head else ""
    return chain.next(
        ledger.LedgerLine(
            **{"who": "Ada", "why": "better", "action": action, "candidate_version": candidate},
            **{"previous_version": replaced if previous is None else previous},
            **{"model": {"digest": "d"}, "registered_by": "Eve", "gate_report": {"gates": []}},
        )
    )


def write(lines, entry):
    """As a server does: the next number, with the line."""
    lines[str(len(lines) + 1)] = entry.text


def history(length):
    lines = {}
    for number in range(length):
        write(lines, act(ledger.follow(lines.items()), str(number + 1)))
    return lines


def test_lines_in_turn_are_one_chain():
    chain = ledger.follow(history(3).items())
    assert [entry.version for entry in chain.entries] == ["1", "2", "3"]
    assert [entry.index for entry in chain.entries] == [0, 1, 2]
    assert chain.entries[0].previous_hash == ledger.GENESIS
    assert (chain.lost, chain.problems) == ((), ())


def test_a_line_of_an_earlier_release_is_read_and_its_hash_still_fits():
    chain = ledger.follow([("1", STORED.read_text())])
    assert chain.problems == ()
    assert (chain.head.report.result, chain.head.report.gates[1].waiver.who) == ("pass", "Bob")
    assert json.loads(chain.head.text) == json.loads(STORED.read_text())


def test_of_two_lines_after_the_same_line_the_first_counts_and_the_other_has_lost():
    lines = history(1)
    seen = ledger.follow(lines.items())
    write(lines, act(seen, "2"))
    write(lines, act(seen, "3"))
    chain = ledger.follow(lines.items())
    assert [entry.candidate_version for entry in chain.entries] == ["1", "2"]
    assert [entry.candidate_version for entry in chain.lost] == ["3"]
    assert chain.problems == ()


@given(st.lists(st.integers(0, 3), max_size=25))
def test_any_race_leaves_one_chain_without_problems(lags):
    """Each act follows what its process saw, which is up to 3 acts old."""
    lines, seen = {}, [ledger.Chain()]
    for lag in lags:
        line_seen = seen[max(0, len(seen) - 1 - lag)]
        write(lines, act(line_seen))
        seen.append(ledger.follow(lines.items()))
    chain = seen[-1]
    assert chain.problems == ()
    assert len(chain.entries) + len(chain.lost) == len(lags)
    hashes = [ledger.GENESIS, *(entry.hash for entry in chain.entries)]
    assert [entry.previous_hash for entry in chain.entries] == hashes[:-1]
    for earlier, later in itertools.pairwise(seen):
        assert later.entries[: len(earlier.entries)] == earlier.entries  # nothing is rewritten


FIELDS = [name for name in json.loads(next(iter(history(1).values()))) if name != "hash"]


@given(st.data())
def test_any_changed_line_is_found(data):
    lines = history(4)
    version = data.draw(st.sampled_from(sorted(lines)))
    field = data.draw(st.sampled_from(FIELDS))
    stored = json.loads(lines[version])
    other = data.draw(st.text(min_size=1).filter(lambda text: text != stored[field]))
    lines[version] = json.dumps({**stored, field: other})
    problem = ledger.follow(lines.items()).problems[0]
    if field in ("model", "gate_report"):
        assert problem.startswith(f"ledger line of ranzcr-clip version {version} cannot be read")
    else:
        assert ledger.follow(lines.items()).problems == (
            f"ledger line of ranzcr-clip version {version} was changed by hand: its hash does "
            "not fit it",
        )


@pytest.mark.parametrize("version", ["1", "2", "3"])
def test_a_changed_line_with_a_hash_that_fits_breaks_the_next_one(version):
    lines = history(4)
    entry = replace(ledger.parse(lines[version]), why="changed").sealed()
    lines[version] = entry.text
    (problem,) = ledger.follow(lines.items()).problems
    assert f"version {int(version) + 1} does not follow the one before it" in problem


@pytest.mark.parametrize("version", ["1", "2", "3", "4"])
def test_a_removed_line_is_found(version):
    lines = history(4)
    lines[version] = None
    problems = ledger.follow(lines.items()).problems
    assert f"version {version} has no ledger line" in problems[0]


@pytest.mark.parametrize("version", ["1", "2", "3"])
def test_a_deleted_version_is_reported_once(version):
    lines = history(4)
    del lines[version]
    assert ledger.follow(lines.items()).problems == (
        f"ranzcr-clip version {version} was deleted by hand, and the ledger line with it",
    )


def test_several_deleted_versions_are_reported_together():
    lines = history(5)
    del lines["2"], lines["3"]
    (problem,) = ledger.follow(lines.items()).problems
    assert "versions 2 to 3 were deleted" in problem


def test_a_copied_line_is_found():
    lines = history(3)
    lines["4"] = lines["2"]
    (problem,) = ledger.follow(lines.items()).problems
    assert "version 4 is a copy of another line" in problem


@pytest.mark.parametrize("text", ["{oops", "[]", "{}", '{"id": 1}', "null"])
def test_a_tag_that_is_not_a_line_is_named(text):
    lines = {**history(1), "2": text}
    (problem,) = ledger.follow(lines.items()).problems
    assert "version 2 cannot be read: it was changed by hand" in problem


def test_all_problems_are_reported_and_the_chain_continues():
    lines = history(5)
    lines["2"], lines["4"] = None, "{oops"
    chain = ledger.follow(lines.items())
    assert len(chain.problems) == 4  # two lines, and each one's successor
    write(lines, act(chain, "9"))
    assert ledger.follow(lines.items()).head.candidate_version == "9"
    with pytest.raises(TrackingError, match=r"version 2 .*\(and 3 more\); see ranzcr registry ver"):
        ledger.refuse_broken(chain)


@given(st.lists(st.booleans(), max_size=30))
def test_promotions_push_and_rollbacks_pop_a_stack_of_candidates(acts):
    lines, stack = {}, []  # candidates, the one in use last
    for is_rollback in acts:
        if is_rollback and len(stack) < 2:
            continue
        if is_rollback:
            stack.pop()
        else:
            stack.append(f"candidate {len(lines)}")
        chain = ledger.follow(lines.items())
        write(lines, act(chain, stack[-1], ledger.ROLLBACK if is_rollback else ledger.PROMOTE))
        lines_now = ledger.follow(lines.items()).entries
        previous = ledger.before(lines_now, lines_now[-1].version)
        assert (previous.candidate_version if previous else None) == (stack[-2:-1] or [None])[0]
