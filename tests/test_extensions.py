"""Parts that are chosen by name, packaged and of a user's own."""

from __future__ import annotations

import sys

import pytest

from ranzcr.errors import ConfigError
from ranzcr.extensions import Extensions


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write `toys/parts.py` below a folder that Python searches."""

    def _package(text: str):
        (tmp_path / "toys").mkdir()
        (tmp_path / "toys/__init__.py").write_text("raise AssertionError('imported too early')\n")
        (tmp_path / "toys/parts.py").write_text(text)
        return tmp_path / "toys/parts.py"

    monkeypatch.syspath_prepend(str(tmp_path))
    yield _package
    for name in [name for name in sys.modules if name.split(".")[0] == "toys"]:
        del sys.modules[name]


PARTS = """
from ranzcr import extensions
TOYS.register("x")(print)

@TOYS.register("red")
def red_part(): ...

@TOYS.register("blue")
class Blue: ...
"""


def test_packaged_names_are_known_without_an_import(package):
    file = package(PARTS)
    toys = Extensions("toy", "toys.parts")
    assert toys.names() == ("red", "blue")
    assert toys.check("red") == "red"
    assert toys.source("blue") == file
    assert "toys" not in sys.modules


def test_an_unknown_name_is_refused_with_the_nearest(package):
    package(PARTS)
    with pytest.raises(ConfigError, match=r"no toy 'bleu'; did you mean blue\?"):
        Extensions("toy", "toys.parts").check("bleu")


def test_a_part_is_found_by_its_registered_name(package):
    file = package(
        "from ranzcr.extensions import Extensions\n"
        "TOYS = Extensions('toy', 'toys.parts')\n"
        "@TOYS.register('red')\ndef red_part(): ...\n"
    )
    (file.parent / "__init__.py").write_text("")
    from toys.parts import TOYS, red_part

    assert TOYS.get("red") is red_part


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toys.partz.Mine", "toy toys.partz.Mine: no module 'toys.partz'; install it or add"),
        ("nowhere.parts.Mine", "no module 'nowhere.parts'"),
        (".Mine", "no module ''"),
        ("toys.parts.Min", r"parts.py has no 'Min'; did you mean Mine\?"),
    ],
)
def test_a_part_of_ones_own_that_does_not_exist_is_one_line(package, name, message):
    package("class Mine: ...\n")
    with pytest.raises(ConfigError, match=message) as caught:
        Extensions("toy", "toys.parts").check(name)
    assert "\n" not in str(caught.value)
    assert "toys" not in sys.modules


def test_a_part_of_ones_own_needs_no_decorator(package):
    file = package("class Mine: ...\n")
    (file.parent / "__init__.py").write_text("")
    toys = Extensions("toy", "ranzcr.errors")
    assert toys.get("toys.parts.Mine").__name__ == "Mine"
    assert toys.source("toys.parts.Mine") == file


def test_a_module_that_cannot_be_imported_is_a_config_error(package):
    package("import not_installed\nclass Mine: ...\n")
    with pytest.raises(ConfigError, match=r"cannot be imported .*imported too early"):
        Extensions("toy", "ranzcr.errors").get("toys.parts.Mine")
