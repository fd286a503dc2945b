"""`ranzcr journal ...`, `ranzcr lb ...` and `ranzcr ui`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranzcr.cli.options import JournalRun

group = typer.Typer(
    no_args_is_help=False,
    rich_markup_mode=None,
    help="The lab journal: what was tried, what it scored.",
)
lb = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Leaderboard scores in the journal."
)


@group.callback(invoke_without_command=True)
def journal_default(context: typer.Context) -> None:
    """The lab journal: what was tried, what it scored. Bare, it prints the journal.

    Example: ranzcr journal
    """
    if context.invoked_subcommand is None:
        journal_show(output_format="table", kind=None, sort="cv_auc", limit=None)


@group.command("show")
def journal_show(
    output_format: Annotated[
        str, typer.Option("--format", help="table, md, csv or html.")
    ] = "table",
    kind: Annotated[str | None, typer.Option(help="single, ensemble or pseudo.")] = None,
    sort: Annotated[str, typer.Option(help="A metric.")] = "cv_auc",
    limit: Annotated[int | None, typer.Option(help="At most this many rows.")] = None,
) -> None:
    """Print the journal: single models, soft labels, ensembles.

    Example: ranzcr journal show --format md --kind single --sort cv_auc --limit 20
    """
    from ranzcr.tracking import journal as record

    rows = record.rows(kind=kind, sort=sort, limit=limit)
    typer.echo(record.render(rows, output_format), nl=False)


@group.command("diff")
def journal_diff(
    a: JournalRun,
    b: JournalRun,
    dataset: Annotated[
        Path | None,
        typer.Option("--data", help="Their prepared data set: adds how probably B is better."),
    ] = None,
) -> None:
    """Compare two runs: settings, inputs, AUC by label.

    Example: ranzcr journal diff smoke_a smoke_b --data dataset
    """
    from ranzcr.tracking import diff

    typer.echo(diff.render(diff.compare(a, b, dataset)), nl=False)


@group.command("note")
def journal_note(
    run: JournalRun,
    text: Annotated[str, typer.Argument(help="One line; date and author are added.")],
) -> None:
    """Add a line to the description of a run.

    Example: ranzcr journal note smoke_a "the 12th epoch adds nothing"
    """
    from ranzcr.tracking import journal as record

    run_id = record.note(run, text)
    typer.echo(f"{run}: note written to run {run_id}")


@group.command("decide")
def journal_decide(
    run: JournalRun,
    decision: Annotated[str, typer.Argument(help="Shown in the journal; replaces an earlier one.")],
) -> None:
    """Write what was decided about a run, by whom and when.

    Example: ranzcr journal decide smoke_a "keep as teacher"
    """
    from ranzcr.tracking import journal as record

    run_id = record.decide(run, decision)
    typer.echo(f"{run}: decision written to run {run_id}")


@lb.command("set")
def lb_set(
    run: JournalRun,
    public: Annotated[float | None, typer.Option("--public")] = None,
    private: Annotated[float | None, typer.Option("--private")] = None,
) -> None:
    """Write leaderboard scores to a row of the journal.

    Example: ranzcr lb set b7v3_001 --public 0.968 --private 0.969
    """
    from ranzcr.tracking import journal as record

    run_id = record.set_lb(run, public=public, private=private)
    typer.echo(f"{run}: leaderboard scores written to run {run_id}")


def ui(
    port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 5000,
) -> None:
    """Open MLflow's pages on the journal; Ctrl-C ends them.

    Example: ranzcr ui --port 5000
    """
    import os

    from ranzcr.tracking import journal as record

    pages = record.ui_command(port)
    typer.echo(pages.link)
    if pages.argv:
        os.execve(pages.argv[0], pages.argv, dict(pages.env))
