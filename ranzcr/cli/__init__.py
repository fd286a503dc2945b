"""`ranzcr ...`: every command runs a stage or reads the output of stages.

One file per group of commands. Heavy imports are inside the commands, so that `ranzcr --help`
answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ranzcr.cli import cluster, data, doctor, journal, notify, pipeline, registry, stages
from ranzcr.errors import one_line

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Catheter and line position on chest X-rays: from images to a promoted model.",
)
cluster.join(pipeline.group)
app.add_typer(stages.group)
app.add_typer(data.group, name="data")
app.add_typer(pipeline.group, name="pipeline")
app.add_typer(journal.group, name="journal")
app.add_typer(journal.lb, name="lb")
app.add_typer(registry.group, name="registry")
app.add_typer(notify.group, name="notify")
app.command()(journal.ui)
app.command()(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("ranzcr"))
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Catheter and line position on chest X-rays: from images to a promoted model."""


def main() -> None:
    """Run the command line: exit code 0, 2 for an error that the user can fix, 1 for a bug."""
    try:
        with one_line("ranzcr"):
            app()
    except (KeyboardInterrupt, BrokenPipeError):
        raise SystemExit(130) from None
    except Exception as error:
        _crash(error)


def _crash(error: Exception) -> None:
    """Report a bug in one line; write the traceback to a file that the user can attach."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="ranzcr-crash-", suffix=".txt", delete=False
    ) as report:
        traceback.print_exception(error, file=report)
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    print(f"ranzcr: crashed because of a bug: {what}; traceback in {report.name}", file=sys.stderr)
    raise SystemExit(1) from None
