"""Checks of a cluster before anything is submitted: whether it has all that a run needs.

    needs       what the runs of a profile need
    cluster     reads from Kubernetes and KFP
    reach       whether both answer and know us
    objects     accounts, settings, Secrets and volumes in the namespace; the image
    nodes       GPU pools, their labels and taints
    operators   Kueue, Kubeflow Trainer, KServe

Checks only read. What we may not read is a warning: who submits through KFP needs no right to read
Secrets.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines import hardware, kube
from pipelines.doctor import nodes, objects, operators, reach
from pipelines.doctor.cluster import Cluster
from pipelines.doctor.needs import Needs
from ranzcr import checkup
from ranzcr.checkup import Check, Finding


def examine(profile: str | None, provider: str | None, image: str | None) -> Iterator[Finding]:
    """Yield the finding of each check as soon as it is known.

    Args:
        profile: name or file; the checks look for what its stages need.
        provider: name or file; the checks look for its labels and taints on the profile's nodes.
        image: of the components; the checks look for it in its registry.

    Raises ConfigError for an unknown profile or provider.
    """
    return checkup.run(checks(profile, provider, image), warnings=(kube.ForbiddenError,))


def checks(profile: str | None, provider: str | None, image: str | None) -> list[Check]:
    """Return the checks of `examine` in order."""
    cluster = Cluster()
    needs = Needs(
        hardware.profile(profile) if profile else None,
        hardware.provider(provider) if provider else None,
        image,
    )
    parts = (reach, objects, nodes, operators)
    return [check for part in parts for check in part.checks(cluster, needs)]
