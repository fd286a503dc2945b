"""Examine a deployment of MLflow: does it do all that ranzcr relies on, and what to fix.

    server_checks    who answers, who is let in, the clock, the pages
    journal_checks   runs, metrics, search, saved views, artifacts
    registry_checks  versions, aliases, copies

The checks work in an experiment and a registered model of their own, which they delete.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from ranzcr.checkup import (
    FAIL,
    OK,
    SCRATCH,
    SKIP,
    WARN,
    Check,
    CheckError,
    Checks,
    Finding,
    Visit,
    one_try,
)
from ranzcr.doctor import journal_checks, registry_checks, server_checks
from ranzcr.errors import TrackingError
from ranzcr.tables import table, to_text
from ranzcr.tracking import server

__all__ = ["CHECKS", "FAIL", "Finding", "examine", "render"]

_last = Checks()


@_last(
    "left behind",
    f"delete what is called {SCRATCH}... in MLflow's pages by hand",
    needs=("our credentials", "experiment"),
)
def _left_behind(visit: Visit) -> str:
    return f"nothing: {visit.clean()} things that the checks made are deleted"


CHECKS: tuple[Check, ...] = (
    *server_checks.CHECKS,
    *journal_checks.CHECKS,
    *registry_checks.CHECKS,
    *_last,
)


def examine(uri: str, artifact_mb: int) -> Iterator[Finding]:
    """Yield what each check found, as it is found.

    Args:
        uri: of the MLflow; MLFLOW_TRACKING_USERNAME and the like say who we are.
        artifact_mb: size of the artifact that is sent and fetched, in 10^6 bytes.

    A check that depends on one that failed is skipped. Stopped half-way, it still cleans up; what
    a crash leaves, the next examination deletes.
    """
    visit = Visit(uri, artifact_mb)
    lost: set[str] = set()  # names of the checks that failed, or could not be made for that
    with one_try():
        try:
            for check in CHECKS:
                yield _look(check, visit, lost)
        except BaseException:  # stopped half-way
            with suppress(TrackingError), server.translated(uri):
                visit.clean()
            raise


def render(findings: list[Finding]) -> str:
    """A table of the findings, then what to fix, then the count of each outcome."""
    rows = [
        [each.outcome, each.name, each.text, f"{each.seconds:.1f} s" if each.seconds else ""]
        for each in findings
    ]
    fixes = [f"{each.outcome}  {each.name}: {each.fix}" for each in findings if each.fix]
    outcomes = [each.outcome for each in findings]
    counts = ", ".join(f"{outcomes.count(each)} {each}" for each in dict.fromkeys(outcomes))
    return to_text([table("doctor", ["", "check", "found", "took"], rows)]) + "\n".join(
        [*fixes, counts, ""]
    )


def _look(check: Check, visit: Visit, lost: set[str]) -> Finding:
    """Make one check; adds to `lost`."""
    if check.http and not visit.http:
        return Finding(check.name, SKIP, "there is no server", 0)
    missing = [name for name in check.needs if name in lost]
    if missing:
        lost.add(check.name)
        return Finding(check.name, SKIP, f"needs: {missing[0]}", 0)
    start = time.monotonic()
    outcome = OK
    try:
        with server.translated(visit.uri):
            text = check.look(visit)
    except CheckError as error:
        outcome, text = error.outcome, str(error)
    except TrackingError as error:
        outcome, text = FAIL, str(error).removeprefix(f"MLflow at {server.shown(visit.uri)} ")
    if outcome == FAIL:
        lost.add(check.name)
    fix = check.fix if outcome in (WARN, FAIL) else ""
    return Finding(check.name, outcome, text, time.monotonic() - start, fix)
