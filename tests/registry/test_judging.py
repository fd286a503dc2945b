"""The gates: values that pass, values that fail, and their texts."""

import json
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.ensemble.score import Truth
from ranzcr.errors import ConfigError
from ranzcr.extensions import GATES
from ranzcr.labels import LabelSchema
from ranzcr.predictions import Origin, Predictions
from ranzcr.registry import gate_rules, judging
from ranzcr.registry.gate_rules import Rules
from ranzcr.registry.gates import GateReport

N = 600
SCHEMA = LabelSchema(("a", "b"))
RNG = np.random.default_rng(0)
TRUTH = Truth(
    uids=np.array([f"s{index}" for index in range(N)]),
    targets=RNG.integers(0, 2, (N, 2)).astype(np.float32),
    patients=np.array([f"p{index // 2}" for index in range(N)]),
    schema=SCHEMA,
)


def scores(noise):
    """Probabilities of a truth that is seen with so much noise."""
    seen = TRUTH.targets + np.random.default_rng(1).normal(0, noise, (N, 2))
    values = 1 / (1 + np.exp((0.5 - seen) / noise**2))
    return Predictions(TRUTH.uids, values.astype(np.float32), SCHEMA, Origin(experiment="x"))


CANDIDATE = judging.Measurements(
    **{
        "digest": "new",
        "dataset_digest": "data",
        "judged_on": "data",
        "cv_auc_lo": 0.8,
        "oof": scores(noise=0.5),
    },
    **{"clean": True, "audit": "no leak", "parity": 1e-6, "seconds": 0.1},
    leaderboard={},
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


def judge(champion=None, rules=None, **changes):
    return judging.judge(replace(CANDIDATE, **changes), champion, TRUTH, rules)


def changed(**gates):
    """The packaged settings with changes."""
    return Rules.from_json(json.dumps(gates))


def gate(report, name):
    result = report.named(name)
    assert result is not None
    return result


def test_every_gate_has_settings():
    names = [gate.name for gate in judge(rules=changed(lb={"required": True})).gates]
    assert names == list(gate_rules.load().gates)
    assert set(names) == set(GATES.names())


def test_without_a_champion_a_good_blend_passes():
    report = judge()
    assert report.result == "pass"
    for name in ("champion", "labels"):
        assert gate(report, name).text == "there is no champion yet"
        assert gate(report, name).against == ""


def test_a_gate_that_is_not_required_is_left_out():
    rules = changed(audit={"required": False})
    assert judge(rules=rules).named("audit") is None
    assert judge().named("lb") is None


def test_a_weak_interval_fails_and_says_so():
    report = judge(cv_auc_lo=0.44)
    assert report.result == "fail"
    assert report.failures == (
        "cv: 95% interval of the cross-fitted CV begins at 0.4400; the limit is 0.5000"
    )


def test_no_interval_is_a_failure_not_a_pass():
    report = judge(cv_auc_lo=float("nan"))
    assert gate(report, "cv").passed is False
    assert gate(report, "cv").value is None
    json.dumps(report.to_json(), allow_nan=False)


def test_a_better_blend_replaces_the_champion():
    report = judge(Reigning(noise=3.0))
    assert report.result == "pass"
    assert gate(report, "champion").value > 0.9
    assert "champion 4" in gate(report, "champion").text
    assert f"{N} common studies" in gate(report, "champion").text
    assert gate(report, "champion").against == "old"


def test_a_worse_blend_does_not():
    report = judge(Reigning(noise=0.1))
    assert gate(report, "champion").result == "fail"
    assert gate(report, "champion").value < 0.1
    assert gate(report, "labels").result == "fail"


def test_one_label_that_is_much_worse_fails_though_the_mean_is_better():
    values = scores(0.1).values.copy()
    values[:, 1] = scores(1.0).values[:, 1]
    mixed = replace(CANDIDATE.oof, values=values)
    report = judge(Reigning(noise=0.9), oof=mixed)
    assert gate(report, "champion").passed
    assert gate(report, "labels").passed == (gate(report, "labels").value <= 0.05)
    worse = judge(Reigning(noise=0.5), oof=mixed)
    assert gate(worse, "labels").result == "fail"
    assert gate(worse, "labels").text.startswith("b has AUC 0.")


def test_a_label_without_both_classes_is_left_out_and_none_at_all_fails():
    one_label = replace(TRUTH, targets=np.column_stack([TRUTH.targets[:, 0], np.ones(N)]))
    report = judging.judge(CANDIDATE, Reigning(), one_label)
    assert gate(report, "labels").passed
    assert gate(report, "labels").text.startswith("a has AUC")
    none = replace(TRUTH, targets=np.ones((N, 2)))
    report = judging.judge(CANDIDATE, Reigning(), none)
    assert gate(report, "labels").text == "no label has both classes"
    assert {gate(report, name).result for name in ("labels", "champion")} == {"fail"}


def test_the_champions_predictions_are_fetched_once_for_both_comparisons():
    champion = Reigning()
    judge(champion)
    assert champion.fetched == 1


@pytest.mark.parametrize(
    ("champion", "words"),
    [
        (Reigning(digest="new"), "this is champion 4 itself"),
        (Reigning(dataset_digest="other"), "comes from another data set"),
    ],
)
def test_a_champion_that_cannot_be_compared_is_not_fetched_and_passes(champion, words):
    report = judge(champion)
    for name in ("champion", "labels"):
        assert words in gate(report, name).text
    assert report.result == "pass"
    assert champion.fetched == 0


def test_a_blend_of_another_data_set_fails():
    report = judge(dataset_digest="")
    assert gate(report, "data").passed is False
    assert gate(report, "data").waivable is False
    assert "made from data set none" in gate(report, "data").text


def test_only_common_studies_are_compared():
    report = judge(Reigning(), oof=CANDIDATE.oof.aligned(TRUTH.uids[: N // 2]))
    assert f"{N // 2} common studies" in gate(report, "champion").text


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"clean": False, "audit": "patient p1 is in two"}, "audit", "p1 is in two"),
        ({"parity": 2e-4}, "parity", "by at most 2.0e-04; the limit is 1e-04"),
        ({"parity": float("nan")}, "parity", "by at most nan"),
        ({"seconds": 61.0}, "latency", "61 s per image on .* cores; the limit is 60 s"),
    ],
)
def test_a_measurement_beyond_its_limit_fails(changes, name, words):
    report = judge(**changes)
    assert [result.name for result in report.gates if result.result == "fail"] == [name]
    assert re.search(words, gate(report, name).text)


def test_ranks_in_place_of_probabilities_are_not_calibrated():
    ranks = CANDIDATE.oof.values.argsort(axis=0).argsort(axis=0) ** 3 / N**3
    report = judge(oof=replace(CANDIDATE.oof, values=ranks.astype(np.float32)))
    assert gate(report, "calibration").result == "fail"
    assert gate(judge(), "calibration").value < gate(report, "calibration").value


def test_calibration_is_not_measured_on_few_studies():
    few = replace(CANDIDATE.oof.aligned(TRUTH.uids[:499]), values=np.ones((499, 2), np.float32))
    result = gate(judge(oof=few), "calibration")
    assert (result.result, result.text) == ("pass", "not measured on 499 studies; 500 are needed")


def test_a_missing_leaderboard_score_fails_if_it_is_required():
    rules = changed(lb={"required": True})
    assert "ranzcr lb set" in gate(judge(rules=rules), "lb").text
    result = gate(judge(rules=rules, leaderboard={"public": 0.97}), "lb")
    assert (result.result, result.text) == ("pass", "public 0.9700")


@given(st.data())
def test_a_better_value_never_turns_a_pass_into_a_failure(data):
    share = st.floats(0, 1)
    low, high = sorted((data.draw(share), data.draw(share)))
    limit = data.draw(share)
    bound = {"at_most": limit}
    rules = changed(cv={"at_least": limit}, parity=bound, latency=bound)
    worse = judge(rules=rules, cv_auc_lo=low, parity=high, seconds=high)
    better = judge(rules=rules, cv_auc_lo=high, parity=low, seconds=low)
    for name in ("cv", "parity", "latency"):
        assert gate(worse, name).passed <= gate(better, name).passed


def test_a_report_survives_json():
    report = judge(Reigning())
    assert GateReport.from_json(json.loads(json.dumps(report.to_json()))) == report


OWN_GATE = '''
from ranzcr.registry.judging import at_most

def gap(case, rule):
    """The largest difference between the shares of two labels."""
    shares = case.truth.targets.mean(axis=0)
    value = float(shares.max() - shares.min())
    return at_most(value, rule.limit, f"shares differ by {value:.2f}")
'''


@pytest.fixture
def own_gate(tmp_path, monkeypatch):
    """Writes a gate of the user's own; the file of gates that names it."""
    (tmp_path / "my_gates.py").write_text(OWN_GATE)
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "gates.yaml"

    def _write(settings):
        file.write_text(f"my_gates.gap: {{{settings}}}\n")
        return file

    return _write


def test_a_gate_of_the_users_own_is_named_in_the_file_of_gates(own_gate):
    rules = gate_rules.load(own_gate("at_most: 0.1, waivable: false"))
    own = judge(rules=Rules.from_json(rules.to_json())).gates[-1]
    assert (own.name, own.passed, own.limit, own.waivable) == ("my_gates.gap", True, 0.1, False)
    assert own.text.startswith("shares differ by 0.")


def test_a_gate_of_the_users_own_without_a_limit_is_one_line(own_gate):
    with pytest.raises(ConfigError, match="has 0 limits; set one of at_least, above and at_most"):
        judge(rules=gate_rules.load(own_gate("waivable: false")))


def test_a_gate_of_the_users_own_that_does_not_exist_is_one_line(own_gate):
    file = own_gate("at_most: 0.1")
    file.write_text("my_gates.gab: {at_most: 0.1}\n")
    with pytest.raises(ConfigError, match=r"gates\.yaml: gate my_gates\.gab: .*did you mean gap"):
        gate_rules.load(file)
