"""Everything that somebody changed by hand is found and named."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.registry import decisions, ledger, registry, verification
from ranzcr.registry.registry import CANDIDATES, CHAMPION, PRODUCTION
from ranzcr.registry.sealed import seal, unseal


@pytest.fixture
def history(three):
    """Candidates 1 and 2 were promoted, 3 was rejected."""
    for version in ("1", "2"):
        registry.promote(version, who="Ada", why="better")
    registry.reject("3", who="Bob", why="misses ETTs")
    return three


def findings(**options):
    return verification.verify(**options).findings


def reseal(client, version, tag="gate_report", **changes):
    """Change a candidate's record and seal it again, as who knows how would."""
    stored = unseal(client.get_model_version(CANDIDATES, version).tags[tag])
    client.set_model_version_tag(CANDIDATES, version, tag, seal({**stored, **changes}))


def tag_of(client, version, name):
    return client.get_model_version(PRODUCTION, version).tags[name]


def moved_alias(client):
    client.set_registered_model_alias(PRODUCTION, CHAMPION, "1")


def removed_alias(client):
    client.delete_registered_model_alias(PRODUCTION, CHAMPION)


def changed_line(client):
    line = json.loads(tag_of(client, "2", ledger.TAG))
    changed = json.dumps({**line, "who": "Eve"})
    client.set_model_version_tag(PRODUCTION, "2", ledger.TAG, changed)


def removed_line(client):
    client.delete_model_version_tag(PRODUCTION, "2", ledger.TAG)


def version_made_by_hand(client):
    client.copy_model_version(f"models:/{CANDIDATES}/3", PRODUCTION)


def deleted_version(client):
    client.delete_model_version(PRODUCTION, "1")


def copied_line(client):
    line = tag_of(client, "1", ledger.TAG)
    client.create_model_version(PRODUCTION, f"models:/{CANDIDATES}/1", tags={ledger.TAG: line})


def line_of_another_source(client):
    chain = ledger.read(client)
    forged = {"candidate_version": "1", "previous_version": "2", "model": {}}
    forged |= {"who": "Eve", "why": "", "action": "promote", "registered_by": ""}
    entry = chain.next(ledger.LedgerLine(**forged, gate_report={"gates": []}))
    source = client.get_model_version_download_uri(CANDIDATES, "3")
    run_id = client.get_model_version(CANDIDATES, "3").run_id
    client.create_model_version(PRODUCTION, source, run_id, tags={ledger.TAG: entry.text})
    client.set_registered_model_alias(PRODUCTION, CHAMPION, "3")
    client.set_model_version_tag(CANDIDATES, "1", "digest", "")


def changed_production_tag(client):
    client.set_model_version_tag(PRODUCTION, "2", "blend_digest", "other")


def changed_digest(client):
    client.set_model_version_tag(CANDIDATES, "1", "digest", "other")


def deleted_candidate(client):
    client.delete_model_version(CANDIDATES, "1")


def changed_report(client):
    client.set_model_version_tag(CANDIDATES, "3", "gate_report", "{}")


def changed_verdict_of_gates(client):
    client.set_model_version_tag(CANDIDATES, "3", "gate", "fail")


def rewritten_report(client):
    stored = unseal(client.get_model_version(CANDIDATES, "1").tags["gate_report"])
    gate = {**stored["gates"][0], "text": "even better"}
    reseal(client, "1", gates=[gate])


def changed_registrant(client):
    client.set_model_version_tag(CANDIDATES, "3", "registered_by", "Eve")


def forged_waiver(client):
    client.set_registered_model_tag(PRODUCTION, "waiver.3.cv", '{"who": "Bob"}')


def removed_verdict_hash(client):
    client.set_registered_model_tag(PRODUCTION, "verdict.3", '{"verdict": "approved"}')


def verdict_of_other_content(client):
    verdict = decisions.Verdict(verdict="approved", digest="other", who="Bob", when="", why="")
    decisions.decide(client, "3", verdict)


EDITS = [
    (moved_alias, "alias champion of ranzcr-clip is at version 1, the last ledger line at versi"),
    (removed_alias, "alias champion of ranzcr-clip is at version none, the last ledger line at"),
    (changed_line, "ledger line of ranzcr-clip version 2 was changed by hand"),
    (version_made_by_hand, "ranzcr-clip version 3 has no ledger line: the version was created"),
    (deleted_version, "ranzcr-clip version 1 was deleted by hand"),
    (copied_line, "ledger line of ranzcr-clip version 3 is a copy of another line"),
    (changed_production_tag, "tag blend_digest of ranzcr-clip version 2 was changed by hand"),
    (changed_digest, "tag digest of candidate 1 was changed by hand: it is other, the ledger says"),
    (deleted_candidate, "candidate 1 was deleted by hand, and ranzcr-clip version 1 is a copy"),
    (changed_report, "gate report of candidate 3 was changed by hand"),
    (changed_verdict_of_gates, "tags gate and registered_by of candidate 3 do not say what"),
    (changed_registrant, "tags gate and registered_by of candidate 3 do not say what"),
    (rewritten_report, "gate report of candidate 1 is not the one that it was promoted with"),
    (forged_waiver, "tag waiver.3.cv of ranzcr-clip was changed by hand, and does not count"),
    (removed_verdict_hash, "tag verdict.3 of ranzcr-clip was changed by hand, and does not count"),
    (verdict_of_other_content, "verdict approved of candidate 3 is about other content (other)"),
]


@pytest.mark.parametrize(("edit", "words"), EDITS, ids=[edit.__name__ for edit, _ in EDITS])
def test_an_edit_is_one_finding(history, edit, words):
    edit(history)
    (finding,) = findings()
    assert finding.startswith(words)
    assert "; " in finding  # and what to do


def test_a_line_whose_source_is_another_model_is_found(history):
    line_of_another_source(history)
    assert any("version 3 is not a copy of candidate 1, which its ledger" in f for f in findings())


def test_all_findings_are_printed(history):
    moved_alias(history)
    removed_line(history)
    changed_report(history)
    done = CliRunner().invoke(cli.app, ["registry", "verify"])
    assert done.exit_code == 2
    assert done.output.count("\n") == 2  # without its line, version 1 is the last act's
    assert "version 2 has no ledger line" in done.output
    assert "gate report of candidate 3" in done.output


def test_verify_prints_the_number_of_lines_and_the_last_hash(history):
    head = ledger.entries(history)[-1].hash
    done = CliRunner().invoke(cli.app, ["registry", "verify", "--content"])
    assert done.output.endswith(f"2 entries, chain intact, the last hash {head}\n")
    assert done.exit_code == 0


def test_an_empty_registry_is_valid(journal):
    assert CliRunner().invoke(cli.app, ["registry", "verify"]).output == (
        "0 entries, chain intact\n"
    )


def test_a_candidate_that_is_judged_again_after_its_promotion_is_valid(journal, candidate):
    from journal_fixtures import PASSED

    from ranzcr.registry.gates import Gate, GateReport

    candidate()
    registry.promote("1", who="Ada", why="better")
    candidate(report=GateReport((*PASSED.gates, Gate("champion", True, None, 0.9, "itself"))))
    assert findings() == ()


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_changed_model_files_are_found_by_their_content(journal, candidate, damage):
    candidate()
    registry.promote("1", who="Ada", why="better")
    place = journal.get_model_version_download_uri(CANDIDATES, "1").removeprefix("file://")
    if damage == "removed":
        shutil.rmtree(place)
    else:
        (model,) = Path(place).rglob("fold0.onnx")
        model.write_bytes(model.read_bytes() + b"\0")
    assert findings() == ()
    changed = findings(content=True)
    assert len(changed) == 2  # the candidate, and the version that is a copy of it
    for finding, name in zip(changed, (CANDIDATES, PRODUCTION), strict=True):
        assert finding.startswith(f"model of {name} version 1 was changed by hand: its digest is")
