"""`ranzcr doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ranzcr.doctor import Finding


def doctor(
    mlflow: Annotated[
        str | None,
        typer.Option("--mlflow", help="Its URI; the journal in use if not set."),
    ] = None,
    artifact_mb: Annotated[
        int, typer.Option("--artifact-mb", min=1, help="Size of the artifact sent and fetched.")
    ] = 200,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Look at KFP and Kubernetes instead of MLflow.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option("--profile", help="With --cluster: what this hardware asks for.")
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option("--provider", help="With --profile: its labels and taints, on the nodes."),
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="With --cluster: is it in its registry?")
    ] = None,
) -> None:
    """Check that an MLflow, or a cluster, does all that is asked of it; exit code 2 if not.

    Example: ranzcr doctor --mlflow http://mlflow:5000

    Example: ranzcr doctor --cluster --profile gpu-small --provider gke
    """
    from ranzcr.errors import ConfigError

    if cluster and mlflow is not None:
        raise ConfigError("give either --cluster or --mlflow")
    if not cluster and (profile or provider or image):
        raise ConfigError("--profile, --provider and --image go with --cluster")
    if provider and not profile:
        raise ConfigError("--provider goes with --profile, whose pods it places")
    if cluster:
        _examine_cluster(profile, provider, image)
    else:
        _examine_mlflow(mlflow, artifact_mb)


def _examine_mlflow(uri: str | None, artifact_mb: int) -> None:
    import os

    from ranzcr import doctor as examination
    from ranzcr.tracking import server

    if uri is not None:
        os.environ["MLFLOW_TRACKING_URI"] = uri
    _tell(examination.examine(server.tracking_uri(), artifact_mb), len(examination.CHECKS))


def _examine_cluster(profile: str | None, provider: str | None, image: str | None) -> None:
    from pipelines import doctor as examination

    asked = (profile, provider, image)
    _tell(examination.examine(*asked), len(examination.checks(*asked)))


def _tell(findings: Iterator[Finding], total: int) -> None:
    """Print them when all are made; exit code 2 where one is a failure."""
    from ranzcr import doctor as examination
    from ranzcr.progress import track

    found = list(track(findings, "checks", total=total))
    typer.echo(examination.render(found), nl=False)
    if any(finding.outcome == examination.FAIL for finding in found):
        raise typer.Exit(2)
