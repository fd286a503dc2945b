"""What an import changes in the journal: worked out before anything is written.

A run remembers a digest of each cell that it was imported with. So if a table is imported again,
only the cells are written that were edited in it, and what people changed in the journal since (a
decision, a note, a score) stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice, takewhile

from ranzcr.journal.journal_run import JournalRun
from ranzcr.journal.sheets.content import (
    LONGEST_TAG,
    NOTE,
    RUN_CELLS,
    Content,
    content_of,
    digest,
    digests,
    imported_digests,
    key_of,
)
from ranzcr.journal.sheets.rows import Row, identity
from ranzcr.journal.sheets.stored import Journal
from ranzcr.journal.sheets.tables import listed
from ranzcr.tracking.names import Metric, Tag

# What people write by hand: an import may write it to a run that ranzcr trained.
_BY_HAND = {f"metrics.{Metric.LB_PUBLIC}", f"metrics.{Metric.LB_PRIVATE}", f"tags.{Tag.DECISION}"}
_BY_HAND |= {NOTE}


@dataclass(frozen=True)
class Edit:
    """A row of the journal that differs from the table."""

    run: JournalRun
    content: Content  # cells to write
    cleared: frozenset[str] = frozenset()  # cells that are not in the table any more
    digests: str | None = None  # of all cells of the table; None to leave the run's

    @property
    def replaces(self) -> bool:
        """Whether it takes a new run: MLflow cannot change a param or clear a metric."""
        present = content_of(self.run)
        return any(
            cell in RUN_CELLS
            or (cell.startswith("params.") and cell in present)
            or (cell.startswith("metrics.") and cell in self.cleared)
            for cell in (*self.content, *self.cleared)
        )

    def __str__(self) -> str:
        """ "b7v3_001: lb_public 0.967 -> 0.968"."""
        present = content_of(self.run)
        changes = [
            f"{_short(cell)} {_shown(present.get(cell))} -> {_shown(self.content.get(cell))}"
            for cell in sorted({*self.content, *self.cleared})
        ]
        return f"{self.run.experiment}: {', '.join(changes)}"


@dataclass
class Plan:
    """What an import is going to write."""

    file: str  # its name, which new runs remember
    source: str
    notes: list[str]  # for the person who imports it
    new: list[Row] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    leftovers: list[JournalRun] = field(default_factory=list)  # of an import that was killed
    same: int = 0

    def summary(self) -> str:
        return f"{len(self.new)} new, {len(self.edits)} changed, {self.same} same"


def compare(rows: Sequence[Row], journal: Journal, plan: Plan) -> None:
    """Add to a plan what the rows of its table change in the journal."""
    rows = _with_keys(rows, journal, plan.source)
    kept: list[str] = []
    for row in rows:
        run = journal.by_key.get(row.key)
        if run is None:
            plan.new.append(row)
            continue
        trained = run.run_id in journal.trained
        edit = _edit(row, run, plan.source, trained)
        plan.edits += [edit] if edit else []
        plan.same += edit is None
        kept += _differing(row, run) if trained else []
    if kept:
        plan.notes.append(
            f"{len(kept)} cells differ from what ranzcr measured and stay as in the journal, where "
            f"an import writes only LB, decision and note: {listed(kept, 5)}"
        )
    keys = {row.key for row in rows}
    sources = {run.run_id: run.tags.get(Tag.IMPORTED_SOURCE) for run in journal.runs}
    gone = [
        run.experiment
        for run in journal.runs
        if sources[run.run_id] == plan.source and key_of(run) not in keys
    ]
    if gone:
        plan.notes.append(
            f"{len(gone)} rows imported earlier are not in the file any more and stay in the "
            f"journal: {listed(gone, 5)}"
        )
    names = {row.name for row in plan.new}
    for run in journal.runs:
        if run.experiment in names and sources[run.run_id]:
            source = sources[run.run_id]
            plan.notes.append(
                f"{run.experiment} and maybe others are in the journal from {source!r}; to update "
                f"those, write `source: {source}` into a file for --map"
            )
            break
    plan.leftovers += [
        r for r in journal.unfinished if r.tags.get(Tag.IMPORTED_SOURCE) == plan.source
    ]
    plan.leftovers += [
        run  # it was replaced, but not deleted
        for run in journal.runs
        if key_of(run) in keys
        and journal.by_key[key_of(run)] is not run
        and run.run_id not in journal.trained
    ]


def _with_keys(rows: Sequence[Row], journal: Journal, source: str) -> list[Row]:
    """The rows, each with the key of its run.

    Rows of one name have numbered keys. Each row gets the key of the run that it shares most cells
    with, so the table may be sorted in another way; new rows get the keys that are left.
    """
    by_name: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if not row.key:
            by_name[row.name.casefold()].append(row)
    keys: dict[int, str] = {}
    for name, named in by_name.items():
        numbered = (identity(source, "name", name, str(number)) for number in count())
        free = list(islice(numbered, len(named)))
        free += takewhile(journal.by_key.__contains__, numbered)
        known = {key: imported_digests(run) for key in free if (run := journal.by_key.get(key))}
        cells = {row.number: {digest(*cell) for cell in row.content.items()} for row in named}
        pairs = [
            (len(cells[number] & known[key]), number, key) for number in cells for key in known
        ]
        for _, number, key in sorted(pairs, key=lambda pair: -pair[0]):
            if number not in keys and key in free:
                keys[number] = key
                free.remove(key)
        keys |= zip((number for number in cells if number not in keys), free, strict=False)
    return [row if row.key else replace(row, key=keys[row.number]) for row in rows]


def _edit(row: Row, run: JournalRun, source: str, trained: bool) -> Edit | None:
    """The cells of a row to write to its run; None if there are none."""
    present = content_of(run)
    own = run.tags.get(Tag.IMPORTED_SOURCE) == source  # another table has other cells
    known = imported_digests(run) if own else set()
    edited = {
        cell: value
        for cell, value in row.content.items()
        if present.get(cell) != value
        and digest(cell, value) not in known
        and (cell in _BY_HAND or not trained)
    }
    cleared = frozenset(
        cell
        for cell, value in present.items()
        if cell not in {*row.content, *RUN_CELLS} and digest(cell, value) in known and not trained
    )
    if not edited and not cleared:
        return None
    note = present.get(NOTE)
    if NOTE in edited and note and own and digest(NOTE, note) not in known:
        # People have added to it since.
        edited[NOTE] = f"{note}\n\n{edited[NOTE]}"[:LONGEST_TAG]
    return Edit(run, edited, cleared, digests(row.content) if own else None)


def _differing(row: Row, run: JournalRun) -> list[str]:
    """The cells that differ from what ranzcr measured."""
    present = content_of(run)
    return [
        f"row {row.number} {_short(cell)} {_shown(value)} (journal: {_shown(present.get(cell))})"
        for cell, value in row.content.items()
        if present.get(cell) != value and cell not in _BY_HAND
    ]


def _short(cell: str) -> str:
    return "note" if cell == NOTE else cell.removeprefix("metrics.").removeprefix("tags.")


def _shown(value: str | float | None) -> str:
    words = "nothing" if value is None else " ".join(str(value).split())
    return words if len(words) <= 40 else f"{words[:37]}..."
