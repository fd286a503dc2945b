"""Kaggle's list of submissions: leaderboard scores for the runs that it names.

A submission belongs to the run whose name stands in its description, else in the name of its
file; of several names the one that has all others within it ("a+b" before "a"). Where no run or no
single one is named, the submission becomes a row of its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

from mlflow.entities import Run as MlflowRun

from ranzcr.errors import DataError
from ranzcr.journal.sheets import cells
from ranzcr.journal.sheets.cells import UnreadableError
from ranzcr.journal.sheets.fields import EXPERIMENT, KIND, START, Content
from ranzcr.journal.sheets.header import Table
from ranzcr.journal.sheets.merging import Edit, Plan, plan
from ranzcr.journal.sheets.rows import Row, Rows, identity
from ranzcr.journal.sheets.stored import SOURCE, Journal, content_of, name_of

KAGGLE = "kaggle"  # the source of these rows: they are found again whatever the file is called
_COLUMNS = {"fileName", "date", "description", "status", "publicScore", "privateScore"}
_SHORTEST = 3  # characters of a name that is looked for in a text


@dataclass(frozen=True)
class Submission:
    """One submission that was scored."""

    row: int
    named: str  # its number, else file and date
    file: str
    description: str
    when: int | None  # milliseconds since 1970
    scores: Content


def is_list(table: Table) -> bool:
    """Whether `kaggle competitions submissions -v` wrote the table."""
    return set(table.columns) >= _COLUMNS


def fill(table: Table, journal: Journal, file: str, kind: str | None) -> Plan:
    """What the submissions change in the journal: the latest of a run counts.

    Args:
        table: see `is_list`.
        journal: whose runs are looked for.
        file: the table's name.
        kind: of rows for submissions that name no run; single where None.

    Raises DataError for a score that cannot be read.
    """
    found = Rows(KAGGLE)
    scored = _scored(table, found)
    runs_by_name = _by_name(journal.runs)
    of_run: dict[str, list[Submission]] = defaultdict(list)
    for one in scored:
        name = _named(one, runs_by_name, found.notes)
        if name is None:
            row = _row(one, kind or "single")
            found.rows[row.key] = row
        else:
            of_run[name].append(one)
    made = plan(found, journal, file)
    for name, told in of_run.items():
        _fill(runs_by_name[name][0], told, made)
    return made


def _scored(table: Table, told: Rows) -> list[Submission]:
    """Submissions with a score, the oldest first."""
    found: list[Submission] = []
    left_out: list[int] = []
    for number, row in table.rows.items():
        try:
            read = {
                "metrics.lb_public": cells.score(row["publicScore"]),
                "metrics.lb_private": cells.score(row["privateScore"]),
            }
            when = cells.moment(row["date"])
        except UnreadableError as problem:
            raise DataError(
                f"{table.file}: row {number}: {problem}; nothing was imported"
            ) from None
        scores: Content = {name: score for name, score in read.items() if score is not None}
        status = cells.text(row["status"]).rpartition(".")[2].casefold()
        if status != "complete" or not scores:
            left_out.append(number)
            continue
        file, description = cells.text(row["fileName"]), cells.text(row["description"])
        named = cells.text(row.get("ref")) or f"{file} of {cells.text(row['date'])}"
        found.append(Submission(number, named, file, description, when, scores))
    if left_out:
        rows = ", ".join(map(str, left_out[:8])) + (", ..." if len(left_out) > 8 else "")
        told.notes.append(f"submissions without a score are left out: rows {rows}")
    return sorted(found, key=lambda one: one.when or 0)


def _by_name(rows: Iterable[MlflowRun]) -> dict[str, list[MlflowRun]]:
    """Runs by name, but for those that submissions made."""
    found: dict[str, list[MlflowRun]] = defaultdict(list)
    for run in rows:
        tags = run.data.tags
        if tags.get(SOURCE) != KAGGLE and tags.get("kind") != "pseudo":
            found[name_of(run)].append(run)
    return found


def _named(one: Submission, known: dict[str, list[MlflowRun]], notes: list[str]) -> str | None:
    """The run that a submission names; None, and a note, where that is not clear."""
    for text in (one.description, PurePath(one.file).stem):
        names = [name for name in known if _stands_in(name, text)]
        longest = max(names, key=len, default=None)
        if longest is None:
            continue
        others = [name for name in names if name not in longest]
        if others or len(known[longest]) > 1:
            what = f"{longest} and {others[0]}" if others else f"several runs called {longest}"
            notes.append(f"row {one.row} {text!r} names {what}: a row of its own")
            return None
        return longest
    return None


def _stands_in(name: str, text: str) -> bool:
    """Whether a name stands in a text as a whole; spaces around "+" do not matter."""
    if len(name) < _SHORTEST:
        return name == text
    tight = partial(re.sub, r"\s*\+\s*", "+")
    return bool(
        re.search(rf"(?<![\w-]){re.escape(tight(name))}(?![\w-])", tight(text), re.IGNORECASE)
    )


def _row(one: Submission, kind: str) -> Row:
    content: Content = {
        KIND: kind,
        EXPERIMENT: one.description or PurePath(one.file).stem,
        "tags.lb_submission": one.named,
        "params.imported.fileName": one.file,
        **({} if one.when is None else {START: one.when}),
        **one.scores,
    }
    return Row(one.row, identity(KAGGLE, one.named), content)


def _fill(run: MlflowRun, told: list[Submission], made: Plan) -> None:
    """Give a run the scores of its latest submission."""
    latest = told[-1]
    if len(told) > 1:
        made.notes.append(
            f"{len(told)} submissions name {name_of(run)}: the latest counts, {latest.named} in "
            f"row {latest.row}"
        )
    present = content_of(run)
    wanted: Content = {**latest.scores, "tags.lb_submission": latest.named}
    changes = {cell: value for cell, value in wanted.items() if present.get(cell) != value}
    if changes:
        made.edits.append(Edit(run, changes))
    else:
        made.same += 1
