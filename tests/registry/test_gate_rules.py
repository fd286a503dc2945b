"""The settings of the gates: packaged, changed by a file, and every typo with the right name."""

import pytest

from ranzcr.errors import ConfigError
from ranzcr.registry import gate_rules
from ranzcr.registry.gate_rules import Rules


@pytest.fixture
def write(tmp_path):
    """Writes a gates file."""

    def _write(text):
        path = tmp_path / "gates.yaml"
        path.write_text(text)
        return path

    return _write


def test_the_packaged_settings_are_read():
    rules = gate_rules.load()
    assert (rules["cv"].at_least, rules["champion"].above) == (0.5, 0.9)
    waivable = [rules[gate].waivable for gate in ("data", "parity", "cv")]
    assert waivable == [False, False, True]
    assert (rules["lb"].required, rules["cv"].required) == (False, True)


def test_a_file_names_only_what_it_changes(write):
    rules = gate_rules.load(write("labels: {at_most: 0.01}\nlb: {required: true}\n"))
    assert (rules["labels"].at_most, rules["lb"].required) == (0.01, True)
    assert rules["cv"] == gate_rules.load()["cv"]


def test_an_empty_file_changes_nothing(write):
    assert gate_rules.load(write("# nothing yet\n")) == gate_rules.load()


def test_min_auc_wins_over_the_file(write):
    assert gate_rules.load(write("cv: {at_least: 0.8}\n"), min_auc=0.9)["cv"].at_least == 0.9


def test_settings_are_the_same_after_the_way_to_a_component(write):
    rules = gate_rules.load(write("parity: {waivable: true}\n"))
    assert Rules.from_json(rules.to_json()) == rules
    assert Rules.from_json("") == gate_rules.load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("calibratoin: {at_most: 1}", "no gate 'calibratoin'; did you mean calibration?"),
        ("cv: {at_lest: 0.7}", "gate cv has no setting 'at_lest'; did you mean at_least?"),
        ("cv: {at_most: 0.7}", "gate cv has no setting 'at_most'; "),
        ("cv: {at_least: high}", "cv: at_least: .*; found 'high'"),
        ("cv: {at_least: 1.5}", "cv: at_least: .*less than or equal to 1; found 1.5"),
        ("latency: {at_most: .nan}", "latency: at_most: "),
        ("lb: yes please", "lb: .*; found 'yes please'"),
        ("cv: [", "not YAML"),
        ("- cv", "expected settings as key: value, found list"),
    ],
)
def test_a_mistake_is_one_line(write, text, words):
    with pytest.raises(ConfigError, match=words) as raised:
        gate_rules.load(write(text))
    assert "gates.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        gate_rules.load(tmp_path / "none.yaml")
