"""Every command in README.md and docs/ exists, with the options that it is shown with."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from ranzcr import cli

REPOSITORY = Path(__file__).parent.parent
PAGES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    REPOSITORY / "k8s/third-party/README.md",
    REPOSITORY / "pipelines/README.md",
]
MAKEFILE = (REPOSITORY / "Makefile").read_text()


def command_lines(page: Path, word: str) -> list[str]:
    """Lines of indented or fenced blocks that begin with `word`, without comments."""
    found = re.findall(
        rf"^(?: {{4}})?(?:\.venv/bin/)?({word} [^\n#]*)", page.read_text(), re.MULTILINE
    )
    return [line.strip() for line in found]


RANZCR = [(page.name, line) for page in PAGES for line in command_lines(page, "ranzcr")]
MAKE = [(page.name, line) for page in PAGES for line in command_lines(page, "make")]


@pytest.mark.parametrize(("page", "line"), RANZCR)
def test_a_shown_ranzcr_command_exists_with_its_options(page, line):
    command = typer.main.get_command(cli.app)
    words = shlex.split(line)[1:]
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            break
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    shown = {word for word in words if word.startswith("-")}
    assert shown <= known, f"{page}: {line}"
    assert not hasattr(command, "commands") or not words, f"{page}: {line}"


@pytest.mark.parametrize(("page", "line"), MAKE)
def test_a_shown_make_target_exists_and_is_listed(page, line):
    for target in line.split()[1:]:
        assert re.search(rf"^{target}:.* ## ", MAKEFILE, re.MULTILINE), f"{page}: {line}"


def test_the_readme_shows_the_two_commands():
    shown = [line for page, line in MAKE if page == "README.md"]
    assert shown == ["make demo", "make test"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_named_file_exists(page):
    named = re.findall(r"`((?:ranzcr|pipelines|components|tests|docs)/[\w/.-]+)`", page.read_text())
    named += re.findall(r"\bdocs/\w+\.md", page.read_text())
    named += re.findall(r"\bk8s/[\w/.-]*\w", page.read_text())  # of `kubectl apply -k`, too
    for name in named:
        assert (REPOSITORY / name).exists(), f"{page.name} names {name}"
