"""Checks of a deployment: their classes, the runner, and the table of findings.

`ranzcr.doctor` has the checks of an MLflow, `pipelines.doctor` those of a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ranzcr.errors import RanzcrError
from ranzcr.progress import track
from ranzcr.tables import table, to_text

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"


@dataclass(frozen=True)
class Check:
    """One question about a deployment.

    Args:
        name: what is checked.
        fix: what to do if the check fails.
        look: returns one line if all is well, else raises RanzcrError or CheckError.
        needs: names of checks; if one of them failed, this one is skipped.
    """

    name: str
    fix: str
    look: Callable[[], str]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """The result of one check. `fix` is "" if there is nothing to do."""

    name: str
    outcome: str
    text: str
    seconds: float = 0.0
    fix: str = ""


class CheckError(Exception):
    """The problem that a check found, in one line; its outcome can also be WARN or SKIP."""

    def __init__(self, text: str, outcome: str = FAIL) -> None:
        super().__init__(text)
        self.outcome = outcome


def require(condition: bool, text: str) -> None:
    """Raise CheckError unless the condition holds."""
    if not condition:
        raise CheckError(text)


def run(checks: Sequence[Check], warnings: tuple[type[RanzcrError], ...] = ()) -> Iterator[Finding]:
    """Yield the finding of each check as soon as it is known.

    Args:
        checks: in order; a check can only need earlier ones.
        warnings: errors that are a warning rather than a failure.
    """
    failed: set[str] = set()  # and those that were skipped because of a failure
    for check in track(checks, "checks"):
        missing = [name for name in check.needs if name in failed]
        if missing:
            failed.add(check.name)
            yield Finding(check.name, SKIP, f"needs: {missing[0]}")
            continue
        start = time.monotonic()
        outcome, text = OK, ""
        try:
            text = check.look()
        except CheckError as error:
            outcome, text = error.outcome, str(error)
        except RanzcrError as error:
            outcome, text = WARN if isinstance(error, warnings) else FAIL, str(error)
        if outcome == FAIL:
            failed.add(check.name)
        fix = check.fix if outcome in (WARN, FAIL) else ""
        yield Finding(check.name, outcome, text, time.monotonic() - start, fix)


def render(findings: Sequence[Finding]) -> str:
    """Return a table of the findings, the fixes, and the number of each outcome."""
    rows = [
        [
            *(finding.outcome, finding.name, finding.text),
            f"{finding.seconds:.1f} s" if finding.seconds else "",
        ]
        for finding in findings
    ]
    fixes = [
        f"{finding.outcome}  {finding.name}: {finding.fix}" for finding in findings if finding.fix
    ]
    outcomes = [finding.outcome for finding in findings]
    counts = ", ".join(f"{outcomes.count(each)} {each}" for each in dict.fromkeys(outcomes))
    return to_text([table("doctor", ["", "check", "found", "took"], rows)]) + "\n".join(
        [*fixes, counts, ""]
    )
