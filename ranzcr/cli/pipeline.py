"""`ranzcr pipeline ...`: the whole way, here or on a cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from ranzcr.cli.options import Folds, Output, Override, Seed, SkipBad

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run a pipeline here, or compile it for a cluster.",
)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


@group.command("run")
def pipeline_run(
    name: Annotated[str, typer.Argument(help="competition")],
    source: Annotated[str, typer.Option("--data", help="A folder, s3://... or kaggle:NAME.")],
    first: Annotated[str, typer.Option("--first", help="First-stage experiments: A,B")],
    second: Annotated[str, typer.Option("--second", help="Second-stage experiments: C")],
    folds: Folds = 5,
    seed: Seed = 0,
    size: Annotated[
        int | None, typer.Option("--size", help="Of the image cache; the largest needed if not set")
    ] = None,
    external: Annotated[
        list[str] | None, typer.Option("--external", help="A folder of unlabelled images. Repeat.")
    ] = None,
    method: Annotated[str, typer.Option("--blend", help="weights, mean or subset.")] = "weights",
    min_auc: Annotated[float, typer.Option(help="Gate: bound on the interval's lower end.")] = 0.5,
    parallel: Annotated[
        int | None, typer.Option(help="Trainings at a time; 1 with a GPU, else 2.")
    ] = None,
    skip_bad: SkipBad = False,
    overrides: Override = None,
) -> None:
    """Run a pipeline on this machine; run it again to resume from the cache.

    Example: ranzcr pipeline run competition --data phantoms --first smoke_a,smoke_b
    --second smoke_student --folds 3
    """
    from pipelines import launch

    launch.run(
        name,
        source=source,
        first=_names(first),
        second=_names(second),
        folds=folds,
        seed=seed,
        image_size=size,
        externals=external or [],
        blend_method=method,
        min_auc=min_auc,
        skip_bad=skip_bad,
        overrides=overrides or [],
        parallel=parallel,
    )


@group.command("compile")
def pipeline_compile(
    name: Annotated[str, typer.Argument(help="competition")],
    output: Output,
    image: Annotated[
        str | None, typer.Option("--image", help="The components' image: name@sha256:...")
    ] = None,
) -> None:
    """Compile a pipeline to the YAML that Kubeflow Pipelines takes.

    Example: ranzcr pipeline compile competition -o competition.yaml
    """
    from pipelines import launch

    launch.compile_to(name, output, image)
    typer.echo(f"{output}: pipeline {name}")
