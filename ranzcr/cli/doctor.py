"""`ranzcr doctor`."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    mlflow: Annotated[
        str | None,
        typer.Option("--mlflow", help="URI of the MLflow; by default that of the journal."),
    ] = None,
    artifact_mb: Annotated[
        int, typer.Option("--artifact-mb", min=1, help="Size of the artifact sent and fetched.")
    ] = 200,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check KFP and Kubernetes instead of MLflow.")
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="With --cluster: check for what this hardware needs."),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider", help="With --profile: check the nodes for its labels and taints."
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="With --cluster: check that its registry has it.")
    ] = None,
) -> None:
    """Check that an MLflow, or a cluster, is set up for ranzcr; exit code 2 if not.

    Example: ranzcr doctor --mlflow http://mlflow:5000

    Example: ranzcr doctor --cluster --profile gpu-small --provider gke
    """
    import os

    from ranzcr import checkup
    from ranzcr.errors import ConfigError

    if cluster and mlflow is not None:
        raise ConfigError("give either --cluster or --mlflow")
    if not cluster and (profile or provider or image):
        raise ConfigError("--profile, --provider and --image go with --cluster")
    if provider and not profile:
        raise ConfigError("--provider goes with --profile, whose pods it places")
    if cluster:
        from pipelines import doctor as cluster_doctor

        findings = list(cluster_doctor.examine(profile, provider, image))
    else:
        from ranzcr import doctor as mlflow_doctor
        from ranzcr.tracking import place

        if mlflow is not None:
            os.environ["MLFLOW_TRACKING_URI"] = mlflow
        findings = list(mlflow_doctor.examine(place.tracking_uri(), artifact_mb))
    typer.echo(checkup.render(findings), nl=False)
    if any(finding.outcome == checkup.FAIL for finding in findings):
        raise typer.Exit(2)
