"""What is wrong with a compiled pipeline before it runs, all of it at once.

tree      the compiled YAML as a tree of tasks, with where each input comes from
shapes    what KFP's local runner or its cluster would get wrong, mostly in silence
hardware  what a pod needs to be placed, to end, and to be the same tomorrow
secrets   what must not stand in a file
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.lint import hardware, secrets, shapes, tree
from pipelines.lint.tree import Found, Pipeline
from ranzcr.errors import ConfigError

RULES: tuple[Callable[[Pipeline], Iterator[Found]], ...] = (
    *shapes.RULES,
    *hardware.RULES,
    *secrets.RULES,
)


@dataclass(frozen=True)
class Finding:
    """One line: where, the rule's name, what is there and what to do."""

    where: str
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}: {self.text}"


def lint(file: Path) -> list[Finding]:
    """Every finding of every rule, in the order of the rules.

    Raises ConfigError where `file` is not a compiled pipeline.
    """
    pipeline = tree.read(file)
    return [
        Finding(where, rule.__name__.replace("_", "-"), text)
        for rule in RULES
        for where, text in rule(pipeline)
    ]


def require_clean(file: Path, what: str) -> None:
    """Raise ConfigError with the first finding in `file`, which is told as `what`."""
    findings = lint(file)
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise ConfigError(f"{what}: {findings[0]}{more}")
