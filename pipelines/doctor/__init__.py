"""Examine a cluster before anything is submitted: is all there that a run will ask for?

    wants       what the runs of a profile ask for
    cluster     Kubernetes and KFP, looked at
    reach       whether both answer, and know us
    objects     what a run finds in its namespace
    nodes       GPU pools, their labels and taints
    operators   Kueue, Kubeflow Trainer, KServe

It only looks. What it may not look at is a warning, not a failure: a user who submits through KFP
needs no right to read secrets.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from pipelines import hardware, kube
from pipelines.doctor import nodes, objects, operators, reach
from pipelines.doctor.cluster import Check, Cluster
from pipelines.doctor.wants import Wants
from ranzcr.checkup import FAIL, OK, SKIP, WARN, CheckError, Finding
from ranzcr.errors import RanzcrError

__all__ = ["Check", "Finding", "checks", "examine"]


def examine(profile: str | None, provider: str | None, image: str | None) -> Iterator[Finding]:
    """Yield what each check found, as it is found; a check that needs a failed one is skipped.

    Args:
        profile: by name or file; what its stages ask for is looked for.
        provider: by name or file; its labels and taints are looked for on the profile's nodes.
        image: that components run in, looked for in its registry.

    Raises ConfigError for a profile or a provider that is not known.
    """
    lost: set[str] = set()
    for check in checks(profile, provider, image):
        yield _make(check, lost)


def checks(profile: str | None, provider: str | None, image: str | None) -> list[Check]:
    """The checks that `examine` makes, in order."""
    cluster = Cluster()
    wants = Wants(
        hardware.profile(profile) if profile else None,
        hardware.provider(provider) if provider else None,
        image,
    )
    parts = (reach, objects, nodes, operators)
    return [check for part in parts for check in part.checks(cluster, wants)]


def _make(check: Check, lost: set[str]) -> Finding:
    missing = [name for name in check.needs if name in lost]
    if missing:
        lost.add(check.name)
        return Finding(check.name, SKIP, f"needs: {missing[0]}", 0)
    start = time.monotonic()
    outcome, text = _outcome(check)
    if outcome == FAIL:
        lost.add(check.name)
    fix = check.fix if outcome in (WARN, FAIL) else ""
    return Finding(check.name, outcome, text, time.monotonic() - start, fix)


def _outcome(check: Check) -> tuple[str, str]:
    try:
        return OK, check.look()
    except CheckError as error:
        return error.outcome, str(error)
    except kube.ForbiddenError as error:
        return WARN, str(error)
    except RanzcrError as error:
        return FAIL, str(error)
