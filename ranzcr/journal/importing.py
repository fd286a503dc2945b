"""Importing a table into the journal: read all of it, compare, and only then write."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ranzcr.errors import DataError
from ranzcr.journal.rows import check_kind
from ranzcr.journal.sheets import mapping, plan, rows, submissions, tables, writing
from ranzcr.journal.sheets.mapping import Mapping
from ranzcr.journal.sheets.plan import Plan
from ranzcr.journal.sheets.stored import Journal
from ranzcr.journal.sheets.tables import Layout, SheetTable
from ranzcr.tracking import place, server
from ranzcr.tracking.names import Kind


def load(
    file: Path, *, map_file: Path | None = None, kind: str | None = None, sheet: str | None = None
) -> tuple[SheetTable, Mapping]:
    """Read a table and the mapping of its columns.

    Args:
        file: see `tables.read`.
        map_file: YAML with the mapping; without it only known columns have a target.
        kind: of rows without one; wins over the mapping's.
        sheet: of an XLSX with several; wins over the mapping's.

    Raises DataError for the table, ConfigError for the mapping, the kind or the sheet.
    """
    check_kind(kind)
    known_mapping = mapping.read(map_file) if map_file else None
    layout = known_mapping or Layout()
    table = tables.read(file, layout.model_copy(update={"sheet": sheet or layout.sheet}))
    if known_mapping is None:
        return table, mapping.guess(table, kind)
    return table, mapping.complete(known_mapping, table, kind, str(map_file))


def run(
    file: Path,
    *,
    map_file: Path | None = None,
    kind: str | None = None,
    sheet: str | None = None,
    dry_run: bool = False,
) -> Plan:
    """Import a table, see `load`; with `dry_run` only find out what it would write.

    Raises DataError for the first row that cannot be read; then nothing is written.
    """
    table, columns = load(file, map_file=map_file, kind=kind, sheet=sheet)
    compare: Callable[[Journal, Plan], None]
    if map_file is None and submissions.is_list(table):
        changes = Plan(file.name, submissions.KAGGLE, table.notes)
        compare = partial(submissions.compare, table, kind or Kind.SINGLE)
    else:
        unknown = [name for name, target in columns.columns.items() if not target]
        if map_file is None and unknown:
            raise DataError(
                f"{table.file}: the journal has no columns {tables.listed(unknown)}; write a "
                "mapping with --write-map FILE, fill it in, and pass it with --map FILE"
            )
        changes = Plan(file.name, columns.source, table.notes)
        compare = partial(plan.compare, rows.read(table, columns))
    with server.exclusive(place.tracking_uri(), "import"):
        journal = Journal.load()
        compare(journal, changes)
        if not dry_run:
            writing.write(changes, journal)
    return changes


def render(changes: Plan, *, dry_run: bool = False) -> str:
    """Format the notes of a plan, its changes and their number."""
    lines = [f"note: {note}" for note in changes.notes]
    lines += [f"new: row {row.number} {row.name}" for row in changes.new if dry_run]
    lines += [f"changed: {edit}" for edit in changes.edits]
    ending = " (dry run: nothing was written)" if dry_run else ""
    return "\n".join([*lines, f"{changes.file}: {changes.summary()}{ending}", ""])
