"""promote: a candidate that passed -> the champion."""

import json

import pytest

from ranzcr.errors import DataError, TrackingError
from ranzcr.registry import gate_rules, ledger, registry, roles
from ranzcr.stages import promote, register


@pytest.fixture
def candidate(journal, ensemble_folder, blend, dataset, tmp_path):
    """Registers the ensemble under a bound that it reaches or not; what register wrote."""

    def make(passed=True):
        out = tmp_path / "candidate.json"
        rules = gate_rules.load(min_auc=0.5 if passed else 0.999)
        register.run(ensemble_folder, out, blend=blend, dataset=dataset, rules=rules)
        return out

    return make


def test_the_candidate_becomes_the_champion(journal, candidate, tmp_path, monkeypatch):
    monkeypatch.setenv("RANZCR_AUTHOR", "Ada")
    out = tmp_path / "promoted.json"
    result = promote.run(candidate(), out, why="gates passed")
    assert (result.version, result.previous, result.changed) == ("1", "", True)
    assert json.loads(out.read_text()) == {
        **{"candidate": "1", "version": "1", "previous": ""},
        **{"changed": True, "waits": False},
    }
    assert registry.champion().digest == "b" * 64
    assert [(act.who, act.why) for act in ledger.entries(journal)] == [("Ada", "gates passed")]


def test_a_rerun_changes_nothing(journal, candidate, tmp_path):
    promote.run(candidate(), tmp_path / "promoted.json", why="first")
    again = promote.run(candidate(), tmp_path / "promoted.json", why="second")
    assert (again.version, again.changed) == ("1", False)
    assert len(ledger.entries(journal)) == 1


def test_a_candidate_that_failed_is_refused_and_nothing_is_written(journal, candidate, tmp_path):
    with pytest.raises(TrackingError, match="did not pass its gates"):
        promote.run(candidate(passed=False), tmp_path / "promoted.json", why="hope")
    assert not (tmp_path / "promoted.json").exists()


def test_with_roles_the_candidate_waits_for_an_approver(journal, candidate, tmp_path, monkeypatch):
    monkeypatch.setattr(roles, "user", lambda client: "Tess")
    result = promote.run(candidate(), tmp_path / "promoted.json", why="gates passed")
    assert (result.waits, result.version) == (True, "")
    assert result.summary.startswith("candidate 1 waits for an approver")
    assert json.loads((tmp_path / "promoted.json").read_text())["waits"] is True
    assert registry.champion() is None


def test_a_file_that_register_did_not_write_is_named(journal, tmp_path):
    (tmp_path / "candidate.json").write_text("[]")
    with pytest.raises(DataError, match=r"candidate\.json: missing or damaged"):
        promote.run(tmp_path / "candidate.json", tmp_path / "promoted.json", why="x")
