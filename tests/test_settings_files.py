"""Settings in YAML files: one line for what is wrong, and one file over another."""

import pytest

from ranzcr import settings
from ranzcr.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "settings.yaml"


def test_an_empty_file_sets_nothing(file):
    file.write_text("# nothing yet\n")
    assert settings.read(file) == {}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: 1\nb: [", "line 2: not YAML: "),
        (b"\xff\xfe\x00", "not YAML"),
        (b"- 1", "expected settings as key: value, found list"),
    ],
)
def test_what_holds_no_settings_is_one_line(file, content, problem):
    file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        settings.read(file)
    assert str(refused.value).startswith(f"{file}: {problem}")
    assert "\n" not in str(refused.value)


def test_a_line_with_a_password_is_not_shown(file):
    file.write_text("users:\n  password: hunter2: [\n")
    with pytest.raises(ConfigError, match="line 2: not YAML") as refused:
        settings.read(file)
    assert "hunter2" not in str(refused.value)


def test_mappings_are_merged_and_lists_replaced():
    base = {"a": {"b": 1, "c": 2}, "d": [1, 2]}
    assert settings.merged(base, {"a": {"c": 3}, "d": [4]}) == {"a": {"b": 1, "c": 3}, "d": [4]}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1, 2]}
