"""The changes that an import makes to the journal, worked out before anything is written.

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
from ranzcr.journal.sheets import stored
from ranzcr.journal.sheets.rows import Row, identity
from ranzcr.journal.sheets.stored import NOTE, Content, Journal, content_of, digest
from ranzcr.journal.sheets.tables import listed
from ranzcr.tracking import provenance
from ranzcr.tracking.names import Metric, Tag

# Cells that an import may write to a run that ranzcr trained.
_BY_HAND = {f"metrics.{Metric.LB_PUBLIC}", f"metrics.{Metric.LB_PRIVATE}"}
_BY_HAND |= {f"tags.{Tag.LB_SUBMISSION}", f"tags.{Tag.DECISION}", NOTE}


@dataclass(frozen=True)
class Edit:
    """A row of the journal that differs from the table."""

    run: JournalRun
    content: Content  # cells to write
    cleared: frozenset[str] = frozenset()  # cells that are not in the table any more
    marks: Content = field(default_factory=dict)  # see `Plan.marks`

    @property
    def replaces(self) -> bool:
        """Check if it takes a new run: MLflow cannot change a param or clear a metric."""
        present = content_of(self.run)
        changed = {*self.content, *self.cleared}
        fixed = {cell for cell in present if cell.startswith("params.")} | {*stored.RUN_CELLS}
        return bool(changed & fixed) or any(cell.startswith("metrics.") for cell in self.cleared)

    def __str__(self) -> str:
        """ "b7v3_001: lb_public 0.967 -> 0.968"."""
        changed = sorted({*self.content, *self.cleared})
        changes = [_changed(cell, self.run, self.content.get(cell)) for cell in changed]
        return f"{self.run.experiment}: {', '.join(changes)}"


@dataclass
class Plan:
    """The changes that an import is going to write."""

    file: str  # its name
    source: str
    notes: list[str]  # for the person who imports it
    new: list[Row] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    leftovers: list[JournalRun] = field(default_factory=list)  # of an import that was killed
    same: int = 0

    def summary(self) -> str:
        return f"{len(self.new)} new, {len(self.edits)} changed, {self.same} same"

    def marks(self, content: Content) -> Content:
        """Return the tags that say where the cells of a run are from."""
        return {
            f"tags.{Tag.IMPORTED_FROM}": self.file,
            f"tags.{Tag.IMPORTED_SOURCE}": self.source,
            f"tags.{Tag.IMPORTED_BY}": provenance.author(),
            f"tags.{Tag.IMPORTED_CELLS}": stored.digests(content),
        }

    def note(self, text: str, items: Sequence[str]) -> None:
        """Add a note with the number of items and the first of them, if there are any."""
        if items:
            self.notes.append(f"{len(items)} {text}: {listed(items, 5)}")


def compare(rows: Sequence[Row], journal: Journal, plan: Plan) -> None:
    """Add to a plan what the rows of its table change in the journal."""
    rows = _with_keys(rows, journal, plan.source)
    kept: list[str] = []
    for row in rows:
        run = journal.by_key.get(row.key)
        edit = run and _edit(row, run, plan, kept if run.run_id in journal.trained else None)
        if run is None:
            plan.new.append(row)
        elif edit:
            plan.edits.append(edit)
        else:
            plan.same += 1
    keys, names = {row.key for row in rows}, {row.name for row in plan.new}
    gone: list[str] = []
    elsewhere: dict[str, str] = {}  # name -> source
    for run in journal.runs:
        source = run.tags.get(Tag.IMPORTED_SOURCE)
        if source == plan.source and stored.key_of(run) not in keys:
            gone.append(run.experiment)
        elif source not in (None, plan.source) and run.experiment in names:
            elsewhere[run.experiment] = str(source)
    trained = "changes of runs that ranzcr trained are not written (only LB, decision and note are)"
    plan.note(trained, kept)
    plan.note("rows imported earlier are not in the file any more and stay in the journal", gone)
    source = next(iter(elsewhere.values()), "")
    advice = f"to update those, write `source: {source}` into a file for --map"
    plan.note(f"new names are in the journal from another source; {advice}", list(elsewhere))
    begun = [r for r in journal.unfinished if r.tags.get(Tag.IMPORTED_SOURCE) == plan.source]
    replaced = [run for run in journal.replaced if stored.key_of(run) in keys]
    plan.leftovers += begun + replaced


def _with_keys(rows: Sequence[Row], journal: Journal, source: str) -> list[Row]:
    """Return the rows, each with the key of its run.

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
        digests = {k: stored.imported_digests(run) for k in free if (run := journal.by_key.get(k))}
        cells = {row.number: {digest(*cell) for cell in row.content.items()} for row in named}
        pairs = [
            (len(cells[number] & digests[key]), number, key) for number in cells for key in digests
        ]
        for _, number, key in sorted(pairs, key=lambda pair: -pair[0]):
            if number not in keys and key in free:
                keys[number] = key
                free.remove(key)
        keys |= zip((number for number in cells if number not in keys), free, strict=False)
    return [row if row.key else replace(row, key=keys[row.number]) for row in rows]


def _edit(row: Row, run: JournalRun, plan: Plan, kept: list[str] | None) -> Edit | None:
    """Return the cells of a row to write to its run; None if there are none.

    Args:
        kept: gets the cells that differ and are not written, because ranzcr trained the run; None
            for another run.
    """
    present = content_of(run)
    same_table = run.tags.get(Tag.IMPORTED_SOURCE) == plan.source  # another one has other cells
    imported = stored.imported_digests(run) if same_table else set()
    edited = {cell: value for cell, value in row.content.items() if present.get(cell) != value}
    cleared = {
        cell for cell in present.keys() - row.content if digest(cell, present[cell]) in imported
    }
    if kept is not None:
        others = edited.keys() - _BY_HAND
        kept += [
            f"row {row.number} {_changed(cell, run, edited.pop(cell))}" for cell in sorted(others)
        ]
        cleared = set()
    edited = {cell: value for cell, value in edited.items() if digest(cell, value) not in imported}
    cleared -= {*stored.RUN_CELLS}
    if not edited and not cleared:
        return None
    note = present.get(NOTE)
    if NOTE in edited and note and same_table and digest(NOTE, note) not in imported:
        # People have added to it since.
        edited[NOTE] = f"{note}\n\n{edited[NOTE]}"[: stored.LONGEST["tags"]]
    return Edit(run, edited, frozenset(cleared), plan.marks(row.content) if same_table else {})


def _changed(cell: str, run: JournalRun, value: str | float | None) -> str:
    """Format a change: "lb_public 0.967 -> 0.968"."""
    name = "note" if cell == NOTE else cell.removeprefix("metrics.").removeprefix("tags.")
    before, after = (
        "nothing" if side is None else " ".join(str(side).split())[:40]
        for side in (content_of(run).get(cell), value)
    )
    return f"{name} {before} -> {after}"
