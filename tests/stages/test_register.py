"""register: exported ensemble + its blend -> gates -> candidate."""

import json

import pytest

from ranzcr.errors import DataError
from ranzcr.registry import gate_rules, registry
from ranzcr.stages import register
from ranzcr.tracking import server as mlflow_server


@pytest.fixture
def run(journal, ensemble_folder, blend, dataset, tmp_path):
    """Register, with another bound of the CV if given."""

    def _run(min_auc=None, **more):
        out = tmp_path / "candidate.json"
        options = {"blend": blend, "dataset": dataset, "rules": gate_rules.load(min_auc=min_auc)}
        return register.run(ensemble_folder, out, **{**options, **more})

    return _run


def gates_of(journal, version):
    report = json.loads(journal.get_model_version(registry.CANDIDATES, version).tags["gate_report"])
    return {gate["name"]: gate["passed"] for gate in report["gates"]}


def test_a_candidate_is_judged_registered_and_written(run, journal, tmp_path):
    result = run()
    assert (result.version, result.gate) == ("1", "pass")
    assert json.loads((tmp_path / "candidate.json").read_text()) == {
        **{"version": "1", "run_id": result.run_id},
        **{"digest": result.digest, "gate": "pass", "why": ""},
    }
    names = [name for name in gate_rules.load().gates if name != "lb"]
    assert gates_of(journal, "1") == dict.fromkeys(names, True)
    run_of_blend = journal.get_run(result.run_id).data
    assert run_of_blend.tags["candidate_version"] == "1"
    assert 0 < run_of_blend.metrics["seconds_per_image"] < 5


def test_a_second_call_gives_the_same_candidate_of_the_same_run(run, journal):
    assert run() == run()
    assert len(journal.search_runs([mlflow_server.experiment_id(journal)])) == 1


def test_a_candidate_below_the_bound_is_registered_with_the_verdict_fail(run, journal):
    result = run(min_auc=0.99)
    assert result.gate == "fail"
    assert result.why.startswith("cv: 95% interval of the cross-fitted CV begins at")
    assert gates_of(journal, "1")["cv"] is False


def test_a_candidate_that_failed_passes_a_lower_bound_later(run, journal):
    run(min_auc=0.99)
    assert run(min_auc=0.5).gate == "pass"
    assert gates_of(journal, "1")["cv"] is True


def test_an_export_of_another_blend_is_refused(run, blend, tmp_path):
    document = json.loads((blend / "blend.json").read_text())
    (blend / "blend.json").write_text(json.dumps({**document, "digest": "other"}))
    with pytest.raises(DataError, match="was not exported from"):
        run()
    assert not (tmp_path / "candidate.json").exists()


def test_a_missing_blend_is_one_line(run, tmp_path):
    with pytest.raises(DataError, match=r"blend\.json: missing or damaged; make it with ranzcr"):
        run(blend=tmp_path / "no")


def test_a_leaderboard_score_that_was_recorded_since_is_found(run, journal, tmp_path):
    (tmp_path / "gates.yaml").write_text("lb: {required: true}\n")
    rules = gate_rules.load(tmp_path / "gates.yaml")
    failed = run(rules=rules)
    assert (failed.gate, failed.why[:30]) == ("fail", "lb: no leaderboard score is re")
    journal.log_metric(failed.run_id, "lb_private", 0.97)
    assert run(rules=rules).gate == "pass"


def test_a_waived_failure_passes_when_it_is_registered_again(run, journal):
    assert run(min_auc=0.99).gate == "fail"
    registry.waive("1", "cv", why="a pilot", who="Bob")
    again = run(min_auc=0.99)
    assert (again.gate, again.why) == ("pass", "")
    assert gates_of(journal, "1")["cv"] is False


def test_a_leak_in_the_data_set_fails(run, journal, dataset, tmp_path):
    import shutil

    import pandas as pd

    leaky = tmp_path / "leaky"
    shutil.copytree(dataset, leaky)
    table = pd.read_parquet(leaky / "table.parquet")
    table["PatientID"] = "one"
    table.to_parquet(leaky / "table.parquet", index=False)
    assert "audit: " in run(dataset=leaky).why
