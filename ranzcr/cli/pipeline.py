"""`ranzcr pipeline ...`: run a pipeline on this machine, or compile it for a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ranzcr.cli.options import (
    Output,
    Override,
    PinnedImage,
    Profile,
    Provider,
    with_pipeline_options,
)

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run a pipeline here, or compile it for a cluster.",
)


Name = Annotated[
    str,
    typer.Argument(help="competition, first-stage, second-stage, predict, promote or nightly."),
]


@group.command("run")
@with_pipeline_options
def pipeline_run(
    name: Name,
    values: dict[str, Any],
    overrides: Override = None,
    parallel: Annotated[
        int | None, typer.Option(help="Trainings at a time; 1 with a GPU, else 2.")
    ] = None,
    runner: Annotated[
        str, typer.Option(help="Run tasks as subprocess, or in docker containers of --image.")
    ] = "subprocess",
    image: Annotated[
        str | None, typer.Option("--image", help="An image of this machine's Docker: NAME:TAG")
    ] = None,
) -> None:
    """Run a pipeline on this machine; run it again to resume from the cache.

    Each pipeline takes some of the options and refuses the others. `submit` takes the same.

    Example: ranzcr pipeline run competition --data phantoms --first smoke_a,smoke_b
    --second smoke_student --folds 3
    """
    from pipelines import launch

    outputs = launch.run(
        name,
        overrides=overrides or [],
        parallel=parallel,
        runner=runner,
        image=image,
        **values,
    )
    for key, path in outputs.items():
        typer.echo(f"{key}: {path}")


@group.command("compile")
def pipeline_compile(
    name: Name,
    output: Output,
    profile: Profile = None,
    provider: Provider = None,
    image: PinnedImage = None,
) -> None:
    """Compile a pipeline to the YAML that Kubeflow Pipelines takes, and lint it.

    Example: ranzcr pipeline compile competition --profile gpu-small --provider gke
    --image registry.example.com/ranzcr@sha256:0123 -o competition.yaml
    """
    from pipelines import launch

    launch.compile_to(name, output, image, profile, provider)
    typer.echo(f"{output}: pipeline {name}")


@group.command("lint")
def pipeline_lint(
    file: Annotated[Path, typer.Argument(help="A compiled pipeline.")],
) -> None:
    """Print the problems of a compiled pipeline; exit code 2 if there are any.

    Example: ranzcr pipeline lint competition.yaml
    """
    from pipelines import lint

    findings = lint.lint(file)
    for finding in findings:
        typer.echo(finding)
    if findings:
        raise typer.Exit(2)
    typer.echo(f"{file}: nothing found by {len(lint.RULES)} rules")
