"""Importing a spreadsheet into the journal: read all, compare, and only then write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ranzcr.errors import ConfigError, DataError, nearest
from ranzcr.journal.columns import KINDS, SHOWN
from ranzcr.journal.sheets import grids, header, mapping, merging, rows, submissions, writing
from ranzcr.journal.sheets.header import Table
from ranzcr.journal.sheets.mapping import Mapping
from ranzcr.journal.sheets.merging import Plan
from ranzcr.journal.sheets.stored import Journal
from ranzcr.tracking import server

_LINES = 20  # of a list that are shown


@dataclass(frozen=True)
class Outcome:
    """What an import found, and wrote unless it was a dry run."""

    shown: str  # the mapping
    plan: Plan


def load(
    file: Path, *, map_file: Path | None = None, kind: str | None = None, sheet: str | None = None
) -> tuple[Table, Mapping]:
    """A table and what its columns are.

    Args:
        file: .csv, .tsv, .txt or .xlsx.
        map_file: YAML that tells the mapping; guessed where None.
        kind: of rows that do not tell theirs; guessed where None.
        sheet: which one of an XLSX with several.

    Raises DataError for the table, ConfigError for the mapping, the kind or the sheet.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"--kind {kind}: {nearest(kind, KINDS)}")
    readings = grids.read(file, sheet)
    if map_file is None:
        table = header.tabulate(readings, mapping.recognised)
        if set(table.columns) >= {column.name for column in SHOWN}:
            raise DataError(
                f"{table.file}: what ranzcr journal show prints lacks scores and settings; import "
                "what ranzcr journal export writes"
            )
        return table, mapping.guess(table, kind)
    told = mapping.read(map_file)
    table = header.tabulate(readings, lambda names: len(set(names) & set(told.targets)))
    return table, mapping.complete(told, table, kind)


def run(
    file: Path,
    *,
    map_file: Path | None = None,
    kind: str | None = None,
    sheet: str | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Import a table, see `load`; with `dry_run` only find out what it would write.

    A list of Kaggle's submissions is known by its columns and needs no mapping.
    Raises DataError for the first row that cannot be read, and then nothing is written.
    """
    table, told = load(file, map_file=map_file, kind=kind, sheet=sheet)
    if map_file is None and submissions.is_list(table):
        with server.exclusive(server.tracking_uri(), "import"):
            journal = Journal.load()
            made = submissions.fill(table, journal, file.name, kind)
            return _finish("Kaggle's list of submissions\n", table, made, journal, dry_run)
    found = rows.read(table, told)
    with server.exclusive(server.tracking_uri(), "import"):
        journal = Journal.load()
        made = merging.plan(found, journal, file.name)
        made.notes += merging.renamed(made.new, journal)
        return _finish(mapping.render(told, table), table, made, journal, dry_run)


def render(outcome: Outcome, *, dry_run: bool = False) -> str:
    """The mapping, what a reader should know, what changes, and the counts."""
    plan = outcome.plan
    lines = [f"note: {note}" for note in plan.notes]
    lines += _some([f"new: row {row.number} {row.name}" for row in plan.new] if dry_run else [])
    lines += _some([f"changed: {edit}" for edit in plan.edits])
    ending = " (dry run: nothing was written)" if dry_run else ""
    return outcome.shown + "\n".join([*lines, f"{plan.file}: {plan.summary()}{ending}", ""])


def _finish(shown: str, table: Table, made: Plan, journal: Journal, dry_run: bool) -> Outcome:
    made.notes[:0] = table.notes
    if not dry_run:
        writing.write(made, journal)
    return Outcome(shown, made)


def _some(lines: list[str]) -> list[str]:
    more = len(lines) - _LINES
    return [*lines[:_LINES], *([f"... and {more} more"] if more > 0 else [])]
