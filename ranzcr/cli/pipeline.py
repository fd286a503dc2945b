"""`ranzcr pipeline ...`: the whole way, here or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranzcr.cli.options import Gates, MinAuc, Output, Override, SkipBad

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run a pipeline here, or compile it for a cluster.",
)


Name = Annotated[
    str,
    typer.Argument(help="competition, first-stage, second-stage, predict, promote or nightly."),
]


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


@group.command("run")
def pipeline_run(
    name: Name,
    source: Annotated[
        str | None, typer.Option("--data", help="A folder, s3://... or kaggle:NAME.")
    ] = None,
    first: Annotated[str | None, typer.Option("--first", help="Experiments: A,B")] = None,
    second: Annotated[
        str | None, typer.Option("--second", help="Experiments that learn from soft labels: C")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Of second-stage: a prepared data set.")
    ] = None,
    soft_labels: Annotated[
        str | None, typer.Option("--soft-labels", help="Of second-stage: what pseudo wrote.")
    ] = None,
    images: Annotated[
        str | None, typer.Option("--images", help="Of predict: a folder or s3://...")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="A candidate; champion or challenger.")
    ] = None,
    why: Annotated[str | None, typer.Option("--why", help="Of promote: for the ledger.")] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", help="Patient-grouped folds; 5 if not set.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the folds; 0 if not set.")] = None,
    size: Annotated[
        int | None, typer.Option("--size", help="Of the image cache; the largest needed if not set")
    ] = None,
    external: Annotated[
        list[str] | None, typer.Option("--external", help="A folder of unlabelled images. Repeat.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--blend", help="weights, mean or subset; weights if not set.")
    ] = None,
    gates: Gates = None,
    min_auc: MinAuc = None,
    parallel: Annotated[
        int | None, typer.Option(help="Trainings at a time; 1 with a GPU, else 2.")
    ] = None,
    runner: Annotated[
        str, typer.Option(help="What tasks are: subprocess, or docker: containers of --image.")
    ] = "subprocess",
    image: Annotated[
        str | None, typer.Option("--image", help="Of this machine's Docker: NAME:TAG")
    ] = None,
    skip_bad: SkipBad = False,
    overrides: Override = None,
) -> None:
    """Run a pipeline on this machine; run it again to resume from the cache.

    Each pipeline takes some of the options and says so of the others.

    Example: ranzcr pipeline run competition --data phantoms --first smoke_a,smoke_b
    --second smoke_student --folds 3
    """
    from pipelines import launch

    made = launch.run(
        name,
        source=source,
        first=_names(first),
        second=_names(second),
        dataset=dataset,
        soft_labels=soft_labels,
        images=images,
        version=version,
        why=why,
        folds=folds,
        seed=seed,
        image_size=size,
        externals=external,
        blend_method=method,
        gates=gates,
        min_auc=min_auc,
        skip_bad=skip_bad,
        overrides=overrides or [],
        parallel=parallel,
        runner=runner,
        image=image,
    )
    for what, path in made.items():
        typer.echo(f"{what}: {path}")


@group.command("compile")
def pipeline_compile(
    name: Name,
    output: Output,
    profile: Annotated[
        str | None, typer.Option("--profile", help="The hardware: cpu, gpu-small ... or a YAML.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", help="Labels and taints: gke, eks ... or a YAML.")
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="What tasks run in: NAME@sha256:...")
    ] = None,
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
    """Print what would go wrong with a compiled pipeline; exit code 2 where there is anything.

    Example: ranzcr pipeline lint competition.yaml
    """
    from pipelines import lint

    findings = lint.lint(file)
    for finding in findings:
        typer.echo(finding)
    if findings:
        raise typer.Exit(2)
    typer.echo(f"{file}: nothing found by {len(lint.RULES)} rules")
