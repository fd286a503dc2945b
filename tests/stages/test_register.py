"""register: ensemble folder + gate report -> candidate."""

import json

import pytest

from ranzcr.errors import DataError
from ranzcr.stages import register
from ranzcr.tracking import registry
from ranzcr.tracking import server as mlflow_server
from ranzcr.tracking.gates import Gate, GateReport


@pytest.fixture
def gate_report(tmp_path):
    report = GateReport((Gate("cv", True, 0.7, 0.5, "good"),))
    path = tmp_path / "gate.json"
    path.write_text(json.dumps(report.to_json()))
    return path


def test_a_candidate_is_registered_and_written_down(
    journal, ensemble_folder, blend_folder, gate_report, tmp_path
):
    out = tmp_path / "candidate.json"
    result = register.run(ensemble_folder, blend_folder, gate_report, out)
    assert (result.version, result.gate) == ("1", "pass")
    assert json.loads(out.read_text()) == {
        **{"version": "1", "run_id": result.run_id},
        **{"digest": result.digest, "gate": "pass"},
    }
    version = journal.get_model_version(registry.CANDIDATES, "1")
    names = [gate["name"] for gate in json.loads(version.tags["gate_report"])["gates"]]
    assert names == ["cv", "parity"]
    assert journal.get_run(result.run_id).data.tags["candidate_version"] == "1"


def test_again_it_is_the_same_candidate_of_the_same_run(
    journal, ensemble_folder, blend_folder, gate_report, tmp_path
):
    arguments = (ensemble_folder, blend_folder, gate_report, tmp_path / "candidate.json")
    assert register.run(*arguments) == register.run(*arguments)
    assert len(journal.search_runs([mlflow_server.experiment_id(journal)])) == 1


def test_an_export_of_another_blend_is_refused(
    journal, ensemble_folder, blend_folder, gate_report, tmp_path
):
    told = json.loads((blend_folder / "blend.json").read_text())
    (blend_folder / "blend.json").write_text(json.dumps({**told, "digest": "other"}))
    with pytest.raises(DataError, match="was not exported from"):
        register.run(ensemble_folder, blend_folder, gate_report, tmp_path / "candidate.json")
    assert not (tmp_path / "candidate.json").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"gates": [1]}'])
def test_a_damaged_gate_report_is_one_line(
    journal, ensemble_folder, blend_folder, gate_report, tmp_path, content
):
    gate_report.write_text(content)
    with pytest.raises(DataError, match=r"gate\.json: no"):
        register.run(ensemble_folder, blend_folder, gate_report, tmp_path / "candidate.json")
