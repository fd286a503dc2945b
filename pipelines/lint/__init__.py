"""Find all problems of a compiled pipeline before it runs.

tree      the compiled YAML as a tree of tasks, with the origin of each input
shapes    graphs that KFP's local runner or a cluster runs wrongly, mostly silently
hardware  resources, time limits and pinned images
secrets   secrets in clear text
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.lint import hardware, secrets, shapes, tree
from pipelines.lint.tree import Pipeline, Problem
from ranzcr.errors import ConfigError

RULES: tuple[Callable[[Pipeline], Iterator[Problem]], ...] = (
    *shapes.RULES,
    *hardware.RULES,
    *secrets.RULES,
)


@dataclass(frozen=True)
class LintFinding:
    """One line: the place, the rule, the problem and the fix."""

    where: str
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}: {self.text}"


def lint(file: Path) -> list[LintFinding]:
    """Return every finding, in the order of the rules.

    Raises ConfigError if `file` is not a compiled pipeline.
    """
    pipeline = tree.read(file)
    return [
        LintFinding(where, rule.__name__.replace("_", "-"), text)
        for rule in RULES
        for where, text in rule(pipeline)
    ]


def require_clean(file: Path, what: str) -> None:
    """Raise ConfigError with the first finding in `file`, which messages call `what`."""
    findings = lint(file)
    if findings:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        raise ConfigError(f"{what}: {findings[0]}{more}")
