"""Candidates, the champion, and the ledger of who put it in use."""

import base64
import json

import numpy as np
import pandas as pd
import pytest
from journal_fixtures import PASSED

from ranzcr.errors import DataError, TrackingError
from ranzcr.registry import ledger, registry
from ranzcr.registry.gates import Gate, GateReport
from ranzcr.tracking import context

FAILED = GateReport((Gate("cv", False, 0.4, 0.5, "begins at 0.4"),))
UNOPPOSED = GateReport((Gate("champion", True, None, 0.9, "no champion yet", against=""),))


def promote(version, why="better"):
    return registry.promote(version, who="Ada", why=why)


def test_the_same_content_is_registered_once(journal, candidate):
    assert candidate("first") == candidate("first") == "1"
    assert candidate("second") == "2"


def test_a_candidate_has_tags_that_describe_it(three):
    version = three.get_model_version(registry.CANDIDATES, "1")
    assert version.tags["gate"] == "pass"
    assert version.tags["blend_digest"] == "blend of first"
    assert version.tags["registered_by"] == "Ada"
    assert len(version.tags["digest"]) == 64
    assert three.get_run(version.run_id).data.tags["kind"] == "ensemble"


def test_the_first_author_stays_the_author_of_a_candidate(journal, candidate, monkeypatch):
    monkeypatch.setenv("RANZCR_AUTHOR", "Eve")
    candidate()
    monkeypatch.setenv("RANZCR_AUTHOR", "Bob")
    candidate()
    registered = registry.standing("1").candidate
    assert (registered.registered_by, registered.people) == ("Eve", {"Eve", "Bob"})


def test_a_promoted_candidate_is_the_champion(three):
    assert registry.champion() is None
    done = promote("1")
    assert (done.version, done.previous, done.changed, done.waits) == ("1", "", True, False)
    champion = registry.champion()
    assert (champion.version, champion.digest) == ("1", "blend of first")
    assert champion.predictions().values.shape == (40, 2)


def test_the_champion_by_its_alias_predicts(three, tmp_path):
    import cv2
    import mlflow

    promote("1")
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((48, 40), 51, np.uint8))
    mlflow.set_tracking_uri(three.tracking_uri)
    try:
        model = mlflow.pyfunc.load_model("models:/ranzcr-clip@champion")
        image = base64.b64encode((tmp_path / "grey.png").read_bytes()).decode()
        table = model.predict(pd.DataFrame({"image": [image]}))
    finally:
        mlflow.set_tracking_uri("")
    assert list(table.columns) == ["ETT - Abnormal", "CVC - Normal"]
    assert table.iloc[0].tolist() == pytest.approx([0.2, 0.2], abs=1e-6)


def test_promoting_the_champion_again_changes_nothing(three):
    promote("1")
    promote("2")
    again = promote("2")
    assert (again.version, again.previous, again.changed) == ("2", "1", False)
    assert len(ledger.entries(three)) == 2


def test_the_ledger_holds_author_reason_and_the_version_replaced(three):
    promote("1", why="the first")
    promote("2", why="0.01 better")
    promote("1", why="the second failed at night")
    acts = ledger.entries(three)
    assert [(act.version, act.previous_version, act.candidate_version) for act in acts] == [
        ("1", "", "1"),
        ("2", "1", "2"),
        ("3", "2", "1"),
    ]
    assert (acts[1].who, acts[1].registered_by) == ("Ada", "Ada")
    assert acts[2].why == "the second failed at night"
    assert acts[0].gate_report == PASSED.to_json()
    assert "the second failed at night" in ledger.render()


def test_a_production_version_has_its_line_from_the_start_and_no_tag_of_a_trainer(three):
    three.set_model_version_tag(registry.CANDIDATES, "1", "ledger", "forged")
    three.set_model_version_tag(registry.CANDIDATES, "1", "approved_by", "nobody")
    promote("1")
    tags = three.get_model_version(registry.PRODUCTION, "1").tags
    model = {"blend_digest", "dataset_digest", "digest", "members", "cv_auc"}
    assert set(tags) == model | {"ledger"}
    assert json.loads(tags["ledger"])["who"] == "Ada"


def test_a_changed_ledger_is_not_shown(three):
    promote("1")
    three.delete_model_version_tag(registry.PRODUCTION, "1", "ledger")
    with pytest.raises(TrackingError, match=r"version 1 has no ledger line.*registry verify"):
        ledger.render()


def test_a_candidate_that_failed_its_gates_is_not_promoted(journal, candidate):
    version = candidate(report=FAILED)
    with pytest.raises(TrackingError, match=r"candidate 1 did not pass .*cv: begins at 0\.4"):
        promote(version)
    assert registry.champion() is None


def test_a_candidate_judged_again_may_pass(journal, candidate):
    candidate(report=FAILED)
    assert candidate(report=PASSED) == "1"
    assert promote("1").changed


def test_a_candidate_judged_against_an_earlier_champion_must_be_judged_again(journal, candidate):
    promote(candidate("first", UNOPPOSED))
    candidate("second", UNOPPOSED)  # as if both had been judged before the first was promoted
    with pytest.raises(TrackingError, match=r"not compared with the present champion \(1\)"):
        promote("2")
    against = Gate("champion", True, 0.95, 0.9, "better", against="blend of first")
    candidate("second", GateReport((against,)))
    assert promote("2").changed
    assert not promote("2").changed  # it has nobody to beat but itself


def test_a_candidate_with_a_changed_gate_report_is_not_promoted(three):
    tags = three.get_model_version(registry.CANDIDATES, "1").tags
    forged = tags["gate_report"].replace("0.8", "0.9")
    three.set_model_version_tag(registry.CANDIDATES, "1", "gate_report", forged)
    with pytest.raises(TrackingError, match="gate report of candidate 1 was changed by hand"):
        promote("1")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("9", "ranzcr-clip-candidates has no version 9; known: 3, 2, 1"),
        ("champoin", "no version or alias 'champoin'; did you mean champion?"),
        ("champion", "ranzcr-clip has no champion of a known candidate; promote one"),
        ("challenger", "has no challenger: no promotion was requested"),
    ],
)
def test_an_unknown_candidate_is_one_line(three, word, message):
    for ask in (promote, registry.standing):
        with pytest.raises(TrackingError) as raised:
            ask(word)
        assert message in str(raised.value)


def test_an_empty_registry_says_what_to_do(journal):
    with pytest.raises(TrackingError, match="has no version 1; register an ensemble first"):
        promote("1")


def test_a_folder_that_is_not_an_ensemble_is_named(journal, blend_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with (
        context.ensemble_run({"a": 1.0}, dataset_digest="d", method="m", digest="x") as run,
        pytest.raises(DataError, match=r"ensemble\.json: missing or damaged"),
    ):
        registry.register(tmp_path / "empty", blend_folder, run.run_id, PASSED)
