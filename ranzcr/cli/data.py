"""`ranzcr data ...`: phantoms, folds and the audit of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranzcr.cli.options import Folds, Output, Seed

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Phantoms, folds, and an audit for leaks.",
)


@group.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="The competition folder to make.")],
    studies: Annotated[int, typer.Option("--studies", help="Train images.")] = 600,
    size: Annotated[int, typer.Option("--size", help="Pixels per side.")] = 512,
    seed: Seed = 0,
) -> None:
    """Draw phantom chest X-rays in competition form.

    Example: ranzcr data phantom phantoms --studies 600 --size 512 --seed 0
    """
    from ranzcr.data import phantom as phantoms

    phantoms.write_competition(out, studies=studies, size=size, seed=seed)
    typer.echo(f"{out}: {studies} phantom studies of {size} px and a test folder")


@group.command()
def folds(
    train_csv: Annotated[Path, typer.Argument(help="A train.csv.")],
    output: Output = Path("folds.csv"),
    folds: Folds = 5,
    seed: Seed = 0,
    method: Annotated[str, typer.Option(help="greedy, stratified or group.")] = "greedy",
    compare: Annotated[bool, typer.Option("--compare", help="Print how each method does.")] = False,
) -> None:
    """Deal studies into folds, each patient whole and each label evenly.

    Example: ranzcr data folds train.csv -o folds.csv --folds 5 --seed 0 --compare
    """
    from ranzcr import competitions
    from ranzcr.data import folds as dealing
    from ranzcr.files import replacing

    if compare:
        typer.echo(dealing.compare(train_csv, folds, seed).to_string(index=False))
    table = dealing.fold_table(train_csv, folds, seed, method)
    with replacing(output) as beside:
        competitions.current().to_files(table).to_csv(beside, index=False)
    typer.echo(f"{output}: {len(table)} studies of {table.PatientID.nunique()} patients")


@group.command()
def audit(
    dataset: Annotated[Path, typer.Argument(help="A prepared data set.")],
) -> None:
    """Look for leaks: patients and X-rays that a fold trains on and is scored on.

    Exit code 2 if there is a leak; a warning does not count.

    Example: ranzcr data audit dataset
    """
    from ranzcr.data import audit as auditor
    from ranzcr.data.dataset import Dataset

    prepared = Dataset.open(dataset, verify=False)
    prepared.verify()
    report = auditor.audit(prepared)
    for finding in report.findings:
        typer.echo(f"{'leak' if finding.leak else 'warning'}  {finding.check}: {finding.text}")
    if not report.clean:
        typer.echo(f"{dataset}: not clean")
        raise typer.Exit(2)
    typer.echo(f"{dataset}: {report.summary}")
