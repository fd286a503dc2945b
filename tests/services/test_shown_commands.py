"""Every command on the admins' pages exists, according to the help of its program."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from manifests import needs_kubectl

pytestmark = needs_kubectl

REPOSITORY = Path(__file__).parent.parent.parent
PAGES = [
    *(REPOSITORY / "docs" / f"{name}.md" for name in ("cluster", "operations", "multi-node")),
    REPOSITORY / "k8s/third-party/README.md",
]
# test_docs.py checks ranzcr and make. Of helm, jq, gcloud, kind and torchrun only the name is
# checked: they are not installed here, or slow to start; docs/cluster.md lists them.
PROGRAMS = {"ranzcr", "make", "kubectl", "export", "helm", "jq", "openssl", "tr", "gcloud", "kind",
            "docker", "echo", "torchrun"}  # fmt: skip
WITH_VALUE = ("-n", "-o", "-l", "-k", "-f", "--namespace")


def shown(page: Path) -> list[str]:
    """Return the commands in a page's fenced blocks, also those in pipes and in other commands."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    nested = [inner for line in lines for inner in re.findall(r"\$\(([^()]+)\)", line)]
    outer = [re.sub(r"\$\([^()]+\)", "VALUE", line) for line in lines]
    commands = [part.strip() for line in [*outer, *nested] for part in line.split(" | ")]
    return [command for command in commands if command]


COMMANDS = [(page.name, line) for page in PAGES for line in shown(page)]


def problems(line: str) -> Iterator[str]:
    """Yield the errors of a command, according to the help of its program."""
    words = shlex.split(line.removesuffix("&").split(" > ")[0])
    while "=" in words[0]:  # a variable for this command alone
        words.pop(0)
    if words[0] not in PROGRAMS:
        yield f"the page does not ask for {words[0]}"
    if words[0] not in ("kubectl", "docker"):
        return
    arguments, flags = _split(words[1:])
    command = _command(words[0], arguments)
    if " ".join(command) not in _help(*command):
        yield f"{words[0]} has no {' '.join(arguments[:2])}"
    if words[0] == "docker":  # its flags may belong to the command that a container runs
        return
    for flag in flags:
        if not re.search(rf"(?m)^ +(-\w, )?{re.escape(flag)}\b[=,]", _help(*command)):
            yield f"{' '.join(command)} has no {flag}"


def _split(words: list[str]) -> tuple[list[str], set[str]]:
    """Return the arguments and the flags, without the namespace's flag, which all commands have."""
    arguments, flags = [], set()
    rest = iter(words[: words.index("--")] if "--" in words else words)
    for word in rest:
        if word.startswith("-"):
            flags.add(word.partition("=")[0])
            if word in WITH_VALUE:
                next(rest)
        else:
            arguments.append(word)
    return arguments, flags - {"-n", "--namespace"}


def _command(program: str, arguments: list[str]) -> list[str]:
    """Return the command with its subcommands, such as `kubectl rollout status`."""
    command = [program, arguments[0]]
    for word in arguments[1:]:
        if "Commands:" not in _help(*command):
            break
        command.append(word)
    return command


@cache
def _help(*command: str) -> str:
    return subprocess.run([*command, "--help"], capture_output=True, text=True).stdout


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_shown_command_exists(page, line):
    assert not list(problems(line)), f"{page}: {line}"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("kubectx kind", "the page does not ask for kubectx"),
        ("kubectl get-pods", "kubectl has no get-pods"),
        ("kubectl rollout state deployment/mlflow", "kubectl has no rollout state"),
        ("docker network join kind registry", "docker has no network join"),
        ("kubectl wait --till=complete job/mlflow-migrate", "kubectl wait has no --till"),
    ],
)
def test_a_command_that_does_not_exist_is_reported(line, problem):
    assert list(problems(line)) == [problem]
