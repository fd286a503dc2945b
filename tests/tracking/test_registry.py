"""Candidates, the champion, and the ledger of who put it in use."""

import json

import numpy as np
import pandas as pd
import pytest
from journal_fixtures import PASSED

from ranzcr.errors import DataError, TrackingError
from ranzcr.tracking import context, ledger, registry
from ranzcr.tracking.gates import Gate, GateReport

FAILED = GateReport((Gate("cv", False, 0.4, 0.5, "begins at 0.4"),))


def promote(version, why="better"):
    return registry.promote(version, who="Ada", why=why)


def test_the_same_content_is_registered_once(journal, candidate):
    assert candidate("first") == candidate("first") == "1"
    assert candidate("second") == "2"


def test_a_candidate_says_what_it_is(journal, candidate):
    version = journal.get_model_version(registry.CANDIDATES, candidate())
    assert version.tags["gate"] == "pass"
    assert version.tags["blend_digest"] == "blend of first"
    assert len(version.tags["digest"]) == 64
    assert journal.get_run(version.run_id).data.tags["kind"] == "ensemble"


def test_a_promoted_candidate_is_the_champion(journal, candidate):
    assert registry.champion() is None
    done = promote(candidate())
    assert (done.version, done.previous, done.changed) == ("1", "", True)
    champion = registry.champion()
    assert (champion.version, champion.digest) == ("1", "blend of first")
    assert champion.predictions().values.shape == (40, 2)


def test_the_champion_by_its_alias_predicts(journal, candidate, tmp_path):
    import cv2
    import mlflow

    promote(candidate())
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((48, 40), 51, np.uint8))
    mlflow.set_tracking_uri(journal.tracking_uri)
    try:
        model = mlflow.pyfunc.load_model("models:/ranzcr-clip@champion")
        table = model.predict(pd.DataFrame({"image": [str(tmp_path / "grey.png")]}))
    finally:
        mlflow.set_tracking_uri("")
    assert list(table.columns) == ["ETT - Abnormal", "CVC - Normal"]
    assert table.iloc[0].tolist() == pytest.approx([0.2, 0.2], abs=1e-6)


def test_promoting_the_champion_again_changes_nothing(journal, candidate):
    promote(candidate())
    promote(candidate("second"))
    again = promote("2")
    assert (again.version, again.previous, again.changed) == ("2", "1", False)
    assert len(ledger.entries(journal)) == 2


def test_the_ledger_says_who_why_and_what_it_replaced(journal, candidate):
    promote(candidate(), why="the first")
    promote(candidate("second"), why="0.01 better")
    promote("1", why="the second failed at night")
    acts = ledger.entries(journal)
    assert [(act.version, act.previous_version, act.candidate_version) for act in acts] == [
        ("1", "", "1"),
        ("2", "1", "2"),
        ("3", "2", "1"),
    ]
    assert acts[1].who == "Ada"
    assert acts[2].why == "the second failed at night"
    assert acts[0].gate_report == PASSED.to_json()
    assert ledger.verify(journal) == 3


@pytest.mark.parametrize("change", [{"who": "Eve"}, {"index": 7}, {"previous_hash": "0" * 64}])
def test_a_changed_ledger_line_is_noticed(journal, candidate, change):
    promote(candidate())
    promote(candidate("second"))
    line = json.loads(journal.get_model_version(registry.PRODUCTION, "2").tags["ledger"])
    changed = json.dumps({**line, **change})
    journal.set_model_version_tag(registry.PRODUCTION, "2", "ledger", changed)
    with pytest.raises(TrackingError, match=r"entry 1 .*does not fit the chain"):
        ledger.verify(journal)


def test_a_removed_ledger_line_is_noticed(journal, candidate):
    promote(candidate())
    promote(candidate("second"))
    journal.delete_model_version_tag(registry.PRODUCTION, "1", "ledger")
    with pytest.raises(TrackingError, match="does not fit the chain"):
        ledger.verify(journal)


def test_a_line_that_is_no_entry_is_named(journal, candidate):
    promote(candidate())
    journal.set_model_version_tag(registry.PRODUCTION, "1", "ledger", "{oops")
    with pytest.raises(TrackingError, match="version 1 cannot be read"):
        ledger.entries(journal)


def test_what_failed_its_gates_is_not_promoted(journal, candidate):
    version = candidate(report=FAILED)
    with pytest.raises(TrackingError, match=r"candidate 1 did not pass .*cv: begins at 0\.4"):
        promote(version)
    assert registry.champion() is None


def test_a_candidate_judged_again_may_pass(journal, candidate):
    candidate(report=FAILED)
    assert candidate(report=PASSED) == "1"
    assert promote("1").changed


def test_an_unknown_candidate_is_one_line(journal):
    with pytest.raises(TrackingError, match="ranzcr-clip-candidates has no version 9"):
        promote("9")


@pytest.mark.parametrize("step", ["set_model_version_tag", "set_registered_model_alias"])
def test_a_promotion_that_was_cut_off_is_completed(journal, candidate, monkeypatch, step):
    candidate()
    with monkeypatch.context() as patch:
        patch.setattr(type(journal), step, _killed)
        with pytest.raises(KeyboardInterrupt):
            promote("1")
    done = promote("1")
    assert (done.version, done.previous) == ("1", "")
    assert registry.champion().version == "1"
    assert ledger.verify(journal) == 1


def _killed(*args, **kwargs):
    raise KeyboardInterrupt


def test_a_folder_that_is_no_ensemble_is_named(journal, blend_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with (
        context.ensemble_run({"a": 1.0}, dataset_digest="d", method="m", digest="x") as run,
        pytest.raises(DataError, match=r"ensemble\.json: no labels"),
    ):
        registry.register(tmp_path / "empty", blend_folder, run.run_id, {}, PASSED)
