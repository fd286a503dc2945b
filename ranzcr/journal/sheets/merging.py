"""What an import changes in the journal: worked out before anything is written.

A run remembers a digest of each cell that it was imported with. So of a table that is imported
again only the cells are written that were edited in it, and what people changed in the journal
since (a decision, a note, a score) stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mlflow.entities import Run as MlflowRun

from ranzcr.journal.sheets import stored
from ranzcr.journal.sheets.fields import END, START, STATUS, Content
from ranzcr.journal.sheets.rows import Row, Rows
from ranzcr.journal.sheets.stored import NOTE, Journal, content_of, digest, is_native, name_of
from ranzcr.tracking import delivery

# What people write by hand, and so an import may write to a run that work has made.
_BY_HAND = {"metrics.lb_public", "metrics.lb_private", "tags.decision", NOTE}
_OF_RUN = (START, END, STATUS)
_LISTED = 5


@dataclass(frozen=True)
class Edit:
    """A row that is in the journal and differs."""

    run: MlflowRun
    content: Content  # cells to be written
    cleared: frozenset[str] = frozenset()  # cells that the table had once and has no more
    digests: str | None = None  # of all cells; None to remember what the run does

    @property
    def replaces(self) -> bool:
        """Whether a new run must take the place: MLflow has no way to change or clear these."""
        present = content_of(self.run)
        changed = {*self.content, *self.cleared}
        return any(
            cell in _OF_RUN or (cell.startswith("params.") and cell in present) for cell in changed
        ) or any(cell.startswith("metrics.") for cell in self.cleared)

    def __str__(self) -> str:
        """ "b7v3_001: lb_public 0.967 -> 0.968"."""
        present = content_of(self.run)
        changes = [
            f"{_short(cell)} {_shown(present.get(cell))} -> {_shown(self.content.get(cell))}"
            for cell in sorted({*self.content, *self.cleared})
        ]
        return f"{name_of(self.run)}: {', '.join(changes)}"


@dataclass
class Plan:
    """What an import is going to write."""

    file: str  # its name
    source: str
    new: list[Row] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    leftovers: list[MlflowRun] = field(default_factory=list)  # of an import that was killed
    same: int = 0
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        return f"{len(self.new)} new, {len(self.edits)} changed, {self.same} same"


def plan(table: Rows, journal: Journal, file: str) -> Plan:
    """Compare the rows of a table with the journal.

    Args:
        table: all rows.
        journal: see `Journal.load`.
        file: the table's name, which new runs remember.
    """
    made = Plan(file, table.source, notes=list(table.notes))
    kept: list[str] = []
    for key, row in table.rows.items():
        run = journal.by_key.get(key)
        if run is None:
            made.new.append(row)
            continue
        edit = _edit(row, run, table.source)
        if edit is None:
            made.same += 1
        else:
            made.edits.append(edit)
        kept += _kept(row, run)
    if kept:
        made.notes.append(
            f"{len(kept)} cells differ from what ranzcr measured and stay as in the journal, where "
            f"an import writes only LB, decision and note: {_listed(kept)}"
        )
    made.leftovers += _leftovers(table, journal)
    made.notes += _gone(table, journal)
    return made


def renamed(new: Sequence[Row], journal: Journal) -> list[str]:
    """New rows that the journal has from another file, or from this one under another name."""
    sources = {
        name_of(run): run.data.tags[stored.SOURCE]
        for run in journal.runs
        if stored.SOURCE in run.data.tags
    }
    again = [sources[row.name] for row in new if row.name in sources]
    if not again:
        return []
    return [
        f"{len(again)} new rows have names that the journal has from {again[0]!r}; to update those "
        f"instead, write `source: {again[0]}` into a file for --map"
    ]


def _edit(row: Row, run: MlflowRun, source: str) -> Edit | None:
    """What of a row must be written to its run; None where nothing."""
    present, native = content_of(run), is_native(run)
    own = run.data.tags.get(stored.SOURCE) == source  # another table's cells were other cells
    known = stored.remembered(run) if own else set()
    edited = {
        cell: value
        for cell, value in row.content.items()
        if present.get(cell) != value
        and digest(cell, value) not in known
        and (cell in _BY_HAND or not native)
    }
    cleared = frozenset(
        cell
        for cell, value in present.items()
        if cell not in row.content
        and cell not in _OF_RUN
        and digest(cell, value) in known
        and not native
    )
    if not edited and not cleared:
        return None
    note = present.get(NOTE)
    if NOTE in edited and note and own and digest(NOTE, note) not in known:
        # People have added to it since.
        edited[NOTE] = f"{note}\n\n{edited[NOTE]}"[: delivery.TAG]
    return Edit(run, edited, cleared, stored.digests(row.content) if own else None)


def _kept(row: Row, run: MlflowRun) -> list[str]:
    """Cells of a run that work has made which differ, and are not written."""
    if not is_native(run):
        return []
    present = content_of(run)
    return [
        f"row {row.number} {_short(cell)} {_shown(value)} (journal: {_shown(present.get(cell))})"
        for cell, value in row.content.items()
        if present.get(cell) != value and cell not in _BY_HAND
    ]


def _leftovers(table: Rows, journal: Journal) -> list[MlflowRun]:
    """Runs that were begun, and imported runs of rows that have an earlier run."""
    begun = [run for run in journal.unfinished if run.data.tags.get(stored.SOURCE) == table.source]
    return begun + [
        run
        for run in journal.runs
        if stored.key_of(run) in table.rows
        and journal.by_key[stored.key_of(run)] is not run
        and not is_native(run)
    ]


def _gone(table: Rows, journal: Journal) -> list[str]:
    """Rows that an earlier version of the file had."""
    gone = [
        name_of(run)
        for run in journal.runs
        if run.data.tags.get(stored.SOURCE) == table.source and stored.key_of(run) not in table.rows
    ]
    if not gone:
        return []
    return [
        f"{len(gone)} rows imported earlier are not in the file any more and stay in the journal: "
        f"{_listed(gone)}"
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def _short(cell: str) -> str:
    return "note" if cell == NOTE else cell.removeprefix("metrics.").removeprefix("tags.")


def _shown(value: str | float | None) -> str:
    text = "nothing" if value is None else " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."
