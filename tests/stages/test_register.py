"""register: exported ensemble + its blend -> gates -> candidate."""

import json

import pytest

from ranzcr.errors import DataError
from ranzcr.stages import register
from ranzcr.tracking import registry
from ranzcr.tracking import server as mlflow_server


@pytest.fixture
def run(journal, ensemble_folder, blend, dataset, tmp_path):
    """Register; more arguments as they are given."""

    def _run(**more):
        out = tmp_path / "candidate.json"
        return register.run(ensemble_folder, out, **{"blend": blend, "dataset": dataset, **more})

    return _run


def gates_of(journal, version):
    report = json.loads(journal.get_model_version(registry.CANDIDATES, version).tags["gate_report"])
    return {gate["name"]: gate["passed"] for gate in report["gates"]}


def test_a_candidate_is_judged_registered_and_written_down(run, journal, tmp_path):
    result = run()
    assert (result.version, result.gate) == ("1", "pass")
    assert json.loads((tmp_path / "candidate.json").read_text()) == {
        **{"version": "1", "run_id": result.run_id},
        **{"digest": result.digest, "gate": "pass", "why": ""},
    }
    assert gates_of(journal, "1") == {"cv": True, "data": True, "champion": True, "parity": True}
    assert journal.get_run(result.run_id).data.tags["candidate_version"] == "1"


def test_again_it_is_the_same_candidate_of_the_same_run(run, journal):
    assert run() == run()
    assert len(journal.search_runs([mlflow_server.experiment_id(journal)])) == 1


def test_a_candidate_below_the_bound_is_registered_with_the_verdict_fail(run, journal):
    result = run(min_auc=0.99)
    assert result.gate == "fail"
    assert result.why.startswith("cv: 95% interval of the honest CV begins at")
    assert gates_of(journal, "1")["cv"] is False


def test_a_candidate_that_failed_passes_when_judged_anew_by_a_lower_bound(run, journal):
    run(min_auc=0.99)
    assert run(min_auc=0.5).gate == "pass"
    assert gates_of(journal, "1")["cv"] is True


def test_an_export_of_another_blend_is_refused(run, blend, tmp_path):
    told = json.loads((blend / "blend.json").read_text())
    (blend / "blend.json").write_text(json.dumps({**told, "digest": "other"}))
    with pytest.raises(DataError, match="was not exported from"):
        run()
    assert not (tmp_path / "candidate.json").exists()


def test_a_missing_blend_is_one_line(run, tmp_path):
    with pytest.raises(DataError, match=r"blend\.json: missing or not JSON; make it with ranzcr"):
        run(blend=tmp_path)
