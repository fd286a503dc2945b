"""`ranzcr journal ...`, `ranzcr lb ...` and `ranzcr ui`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranzcr.cli.options import RunName
from ranzcr.errors import TrackingError

group = typer.Typer(
    no_args_is_help=False,
    rich_markup_mode=None,
    help="The lab journal of experiments and scores.",
)
lb = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Leaderboard scores in the journal."
)


KindOfRun = Annotated[str | None, typer.Option("--kind", help="single, ensemble or pseudo.")]
OutputFile = Annotated[
    Path | None, typer.Option("-o", "--output", help="A file instead of the terminal.")
]


@group.callback(invoke_without_command=True)
def journal_default(context: typer.Context) -> None:
    """The lab journal of experiments and scores. Without a subcommand, print it.

    Example: ranzcr journal
    """
    if context.invoked_subcommand is None:
        journal_show()


@group.command("show")
def journal_show(
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="table, md, csv, html or xlsx; by default the suffix of the file."
        ),
    ] = None,
    kind: KindOfRun = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="cv_auc>0.96, experiment~smoke, cfg.model.head=gem. Repeat: all must hold."
        ),
    ] = None,
    sort: Annotated[str, typer.Option(help="A column; :asc or :desc may follow.")] = "cv_auc",
    limit: Annotated[int | None, typer.Option(help="At most this many rows.")] = None,
    output: OutputFile = None,
) -> None:
    """Print the journal: single models, soft labels, ensembles.

    Example: ranzcr journal show --kind single --where "lb_public>0.96" --sort gpu_hours:asc
    """
    from ranzcr.journal import rows, show

    selection = rows.select(where=where or (), kind=kind, sort=sort, limit=limit)
    form = output_format or (output and output.suffix.lstrip(".").lower()) or "table"
    if output is None:
        typer.echo(show.render(selection, form), nl=False)
        return
    show.write(selection, form, output)
    typer.echo(f"{output}: {len(selection.rows)} runs")


@group.command("diff")
def journal_diff(
    a: RunName,
    b: RunName,
    dataset: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Their prepared data set: adds the probability that B is better."
        ),
    ] = None,
) -> None:
    """Compare two runs: settings, inputs, AUC by label.

    Example: ranzcr journal diff smoke_a smoke_b --data dataset
    """
    from ranzcr.journal import diff

    typer.echo(diff.render(diff.compare(a, b, dataset)), nl=False)


@group.command("note")
def journal_note(
    run: RunName,
    text: Annotated[str, typer.Argument(help="One line; the date and the author are added.")],
) -> None:
    """Add a line to the description of a run.

    Example: ranzcr journal note smoke_a "the 12th epoch adds nothing"
    """
    from ranzcr.journal import notes

    run_id = notes.note(run, text)
    typer.echo(f"{run}: note written to run {run_id}")


@group.command("decide")
def journal_decide(
    run: RunName,
    decision: Annotated[
        str, typer.Argument(help="Shown in the journal; replaces an earlier decision.")
    ],
) -> None:
    """Write a decision about a run, with its author and time.

    Example: ranzcr journal decide smoke_a "keep as teacher"
    """
    from ranzcr.journal import notes

    run_id = notes.decide(run, decision)
    typer.echo(f"{run}: decision written to run {run_id}")


@group.command("views")
def journal_views(
    folds_of: Annotated[
        list[str] | None,
        typer.Option(
            "--folds-of", help="A single model whose folds get a view too. Repeat for several."
        ),
    ] = None,
) -> None:
    """Write the journal's views to MLflow as saved views and print their links.

    Example: ranzcr journal views --folds-of smoke_a
    """
    from ranzcr.journal import views

    written = views.provision(folds_of or ())
    for link in written.links:
        typer.echo(f"{link.name}\n  {link.url}")
    for view_id in written.removed:
        typer.echo(f"removed {view_id}, which is no longer defined")
    if written.local:
        typer.echo("The links work while this command runs: ranzcr ui")


@group.command("lineage")
def journal_lineage(
    name: Annotated[
        str, typer.Argument(help="A run, ranzcr-clip/3, ranzcr-clip-candidates/2 or champion.")
    ],
    output_format: Annotated[
        str | None,
        typer.Option("--format", help="text, dot, mermaid, svg, png or pdf."),
    ] = None,
    output: OutputFile = None,
) -> None:
    """Show what a run or version was made from, back to the data, and what was made from it.

    Example: ranzcr journal lineage champion -o champion.svg
    """
    from ranzcr.lineage import graph, render

    lineage = graph.trace(name)
    if output is None:
        typer.echo(render.render(lineage, output_format or "text"), nl=False)
        return
    render.write(lineage, output, output_format)
    typer.echo(f"{output}: {len(lineage.nodes)} boxes, {len(lineage.edges)} links")


@group.command("import")
def journal_import(
    file: Annotated[Path, typer.Argument(help="A table: .xlsx, .csv, .tsv or .txt.")],
    map_file: Annotated[
        Path | None, typer.Option("--map", help="YAML: what each column is, see --write-map.")
    ] = None,
    write_map: Annotated[
        Path | None,
        typer.Option("--write-map", help="Write a mapping to fill in; import nothing."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Kind of rows without one: single or ensemble.")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="The sheet of an XLSX with several.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the changes, write nothing.")
    ] = False,
) -> None:
    """Import a spreadsheet, Neptune's runs or Kaggle's submissions; known rows are updated.

    Example: ranzcr journal import journal.xlsx --sheet Experiments --dry-run
    """
    from ranzcr.journal import importing
    from ranzcr.journal.sheets import mapping

    if write_map is not None:
        _, columns = importing.load(file, map_file=map_file, kind=kind, sheet=sheet)
        mapping.write(columns, write_map)
        typer.echo(f"{write_map}: edit it, then pass it with --map; nothing was imported")
        return
    plan = importing.run(file, map_file=map_file, kind=kind, sheet=sheet, dry_run=dry_run)
    typer.echo(importing.render(plan, dry_run=dry_run), nl=False)


@group.command("export")
def journal_export(
    file: Annotated[Path, typer.Argument(help="A .csv or .xlsx file, which is replaced.")],
    kind: KindOfRun = None,
) -> None:
    """Write the journal to a spreadsheet that can be imported again; artifacts are not in it.

    Example: ranzcr journal export journal.xlsx
    """
    from ranzcr.journal import exporting

    rows = exporting.run(file, kind)
    typer.echo(f"{file}: {rows} rows")


@group.command("flush")
def journal_flush() -> None:
    """Send queued writes to MLflow; mark runs whose process has died as KILLED.

    Example: ranzcr journal flush
    """
    from ranzcr.tracking import outbox, server

    client = server.connect()
    result = outbox.recover(client)
    typer.echo(f"sent {result.sent} entries")
    for run_id in result.killed:
        typer.echo(f"run {run_id}: its process has died; marked as KILLED")
    for uri, count in outbox.elsewhere(client.tracking_uri).items():
        typer.echo(f"{count} entries wait for {uri}; set MLFLOW_TRACKING_URI to it and flush again")
    if result.left:
        raise TrackingError(f"{result.left} entries could not be sent; run it again later")


@lb.command("set")
def lb_set(
    run: RunName,
    public: Annotated[float | None, typer.Option("--public")] = None,
    private: Annotated[float | None, typer.Option("--private")] = None,
) -> None:
    """Write leaderboard scores to a row of the journal.

    Example: ranzcr lb set b7v3_001 --public 0.968 --private 0.969
    """
    from ranzcr.journal import notes

    run_id = notes.set_lb(run, public=public, private=private)
    typer.echo(f"{run}: leaderboard scores written to run {run_id}")


def ui(
    port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 5000,
) -> None:
    """Serve MLflow's pages of the journal; stop with Ctrl-C.

    Example: ranzcr ui --port 5000
    """
    import os

    from ranzcr.journal import ui as mlflow_pages

    server = mlflow_pages.command(port)
    typer.echo(server.link)
    if server.argv:
        os.execve(server.argv[0], server.argv, dict(server.env))
