"""Gates: what passes, what fails, and in which words."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from ranzcr.errors import DataError
from ranzcr.labels import LabelSchema
from ranzcr.predictions import Origin, Predictions
from ranzcr.tracking import gates

N = 120
SCHEMA = LabelSchema(("a", "b"))
RNG = np.random.default_rng(0)
TRUTH = gates.Truth(
    dataset_digest="data",
    uids=np.array([f"s{index}" for index in range(N)]),
    targets=RNG.integers(0, 2, (N, 2)).astype(np.float32),
    patients=np.array([f"p{index // 2}" for index in range(N)]),
)


def scores(noise):
    """Predictions that are the truth with so much noise."""
    values = TRUTH.targets + np.random.default_rng(1).normal(0, noise, (N, 2))
    values = (values - values.min()) / np.ptp(values)
    return Predictions(TRUTH.uids, values.astype(np.float32), SCHEMA, Origin(experiment="x"))


CANDIDATE = gates.Candidate(
    digest="new", dataset_digest="data", cv_auc_lo=0.8, oof=scores(noise=0.5)
)


@dataclass
class Reigning:
    """A champion whose predictions are counted when they are fetched."""

    noise: float = 3.0
    version: str = "4"
    digest: str = "old"
    dataset_digest: str = "data"
    fetched: int = 0

    def predictions(self):
        self.fetched += 1
        return scores(self.noise)


def gate(report, name):
    return next(gate for gate in report.gates if gate.name == name)


def test_without_a_champion_a_good_blend_passes():
    report = gates.judge(CANDIDATE, None, TRUTH)
    assert report.result == "pass"
    assert gate(report, "champion").text == "there is no champion yet"


def test_a_weak_interval_fails_and_says_so():
    report = gates.judge(replace(CANDIDATE, cv_auc_lo=0.44), None, TRUTH)
    assert report.result == "fail"
    assert report.failures == (
        "cv: 95% interval of the honest CV begins at 0.4400; the limit is 0.5000"
    )


def test_no_interval_is_a_failure_not_a_pass():
    report = gates.judge(replace(CANDIDATE, cv_auc_lo=float("nan")), None, TRUTH)
    assert gate(report, "cv").passed is False
    assert gate(report, "cv").value is None
    json.dumps(report.to_json(), allow_nan=False)


def test_a_better_blend_replaces_the_champion():
    report = gates.judge(CANDIDATE, Reigning(noise=3.0), TRUTH)
    assert report.result == "pass"
    assert gate(report, "champion").value > 0.9
    assert "champion 4" in gate(report, "champion").text
    assert f"{N} common studies" in gate(report, "champion").text


def test_a_worse_blend_does_not():
    report = gates.judge(CANDIDATE, Reigning(noise=0.1), TRUTH)
    assert report.result == "fail"
    assert gate(report, "champion").value < 0.1


@pytest.mark.parametrize(
    ("champion", "words"),
    [
        (Reigning(digest="new"), "this is champion 4 itself"),
        (Reigning(dataset_digest="other"), "comes from another data set"),
    ],
)
def test_what_cannot_be_compared_passes_says_so_and_fetches_nothing(champion, words):
    report = gates.judge(CANDIDATE, champion, TRUTH)
    assert words in gate(report, "champion").text
    assert report.result == "pass"
    assert champion.fetched == 0


def test_a_blend_of_another_data_set_fails():
    report = gates.judge(replace(CANDIDATE, dataset_digest=""), None, TRUTH)
    assert gate(report, "data").passed is False
    assert "made from data set none" in gate(report, "data").text


def test_only_common_studies_are_compared():
    half = replace(CANDIDATE, oof=CANDIDATE.oof.aligned(TRUTH.uids[: N // 2]))
    report = gates.judge(half, Reigning(), TRUTH)
    assert f"{N // 2} common studies" in gate(report, "champion").text


def test_a_report_survives_json():
    report = gates.judge(CANDIDATE, Reigning(), TRUTH)
    assert gates.GateReport.from_json(json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize("stored", [2e-4, {"a.onnx": 1e-6, "b.onnx": 2e-4}])
def test_the_worst_onnx_model_decides_parity(tmp_path, stored):
    (tmp_path / "parity.json").write_text(json.dumps({"max_abs_diff": stored}))
    assert gates.parity(tmp_path).passed is False
    assert gates.parity(tmp_path, limit=1e-3).passed is True
    assert gates.parity(tmp_path).value == 2e-4


def test_a_gate_judged_again_replaces_the_first(tmp_path):
    (tmp_path / "parity.json").write_text(json.dumps({"max_abs_diff": 1e-3}))
    report = gates.judge(CANDIDATE, None, TRUTH).with_gate(gates.parity(tmp_path))
    assert report.result == "fail"
    assert report.with_gate(gates.parity(tmp_path, limit=1e-2)).result == "pass"


def test_an_export_without_parity_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"parity\.json: no max_abs_diff of the exported models"):
        gates.parity(tmp_path)
