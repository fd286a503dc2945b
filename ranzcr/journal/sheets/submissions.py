"""Kaggle's list of submissions: leaderboard scores for the runs that it names.

A submission belongs to the run whose name is in its description, else in the name of its file; of
several names to the one that contains all others ("a+b" before "a"). If no run or no single run is
named, the submission becomes a row of its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePath

from ranzcr.errors import DataError
from ranzcr.journal.journal_run import JournalRun
from ranzcr.journal.sheets import cells, plan, stored
from ranzcr.journal.sheets.plan import Plan
from ranzcr.journal.sheets.rows import Row, identity
from ranzcr.journal.sheets.stored import EXPERIMENT, KIND, START, Content, content_of
from ranzcr.journal.sheets.tables import Layout, SheetTable, listed, text
from ranzcr.tracking.names import Kind, Metric, Tag

KAGGLE = "kaggle"  # the source of these rows: they are found again whatever the file is called
_COLUMNS = {"fileName", "date", "description", "status", "publicScore", "privateScore"}
_FILE, _SUBMISSION = "params.imported.fileName", f"tags.{Tag.LB_SUBMISSION}"
_SCORES = {
    f"metrics.{Metric.LB_PUBLIC}": "publicScore",
    f"metrics.{Metric.LB_PRIVATE}": "privateScore",
}
_SHORTEST = 3  # characters of a name that is searched for in a text


@dataclass(frozen=True)
class Submission:
    """One submission with a score."""

    row: int
    name: str  # its number, else file and date
    file: str
    description: str
    time: int  # milliseconds since 1970; 0 if not known
    scores: Content


def is_list(table: SheetTable) -> bool:
    """Check if `kaggle competitions submissions -v` wrote the table."""
    return set(table.columns) >= _COLUMNS


def compare(table: SheetTable, kind: str, journal: stored.Journal, changes: Plan) -> None:
    """Add to a plan what a list of submissions changes; the latest submission of a run counts.

    Args:
        kind: of rows for submissions that name no run.

    Raises DataError for a score that cannot be read.
    """
    by_name: defaultdict[str, list[JournalRun]] = defaultdict(list)
    earlier: dict[tuple[str, int], JournalRun] = {}  # rows of submissions, by file and second
    for run in journal.runs:
        if run.tags.get(Tag.IMPORTED_SOURCE) == KAGGLE:
            earlier[str(content_of(run).get(_FILE)), run.started // 1000] = run
        elif run.tags.get(Tag.KIND) != Kind.PSEUDO:
            by_name[run.experiment].append(run)
    rows: list[Row] = []
    latest: dict[str, Submission] = {}
    for submission in _scored(table):
        name = _run_name(submission, by_name, table.notes)
        if name is None:
            run = journal.by_key.get(identity(KAGGLE, submission.name))
            run = run or earlier.get((submission.file, submission.time // 1000))
            rows.append(_row(submission, kind, run))
            continue
        if name in latest:
            later = f"row {submission.row} is later than row {latest[name].row}"
            table.notes.append(f"several submissions name {name}: {later}, and counts")
        latest[name] = submission
    for name, submission in latest.items():
        (run,) = by_name[name]
        before = content_of(run)
        same = before.items() >= submission.scores.items()
        number = before.get(_SUBMISSION, submission.name) if same else submission.name
        content = submission.scores | {_SUBMISSION: number}
        rows.append(Row(submission.row, content, stored.key_of(run)))
    plan.compare(rows, journal, changes)


def _scored(table: SheetTable) -> list[Submission]:
    """Return the submissions with a score, the oldest first."""
    scored: list[Submission] = []
    left_out: list[int] = []
    for number, row in table.rows.items():
        try:
            values = [(cell, cells.score(row[name], Layout())) for cell, name in _SCORES.items()]
            time = cells.moment(row["date"], Layout()) or 0
        except cells.CellError as error:
            raise DataError(f"{table.file}: row {number}: {error}; nothing was imported") from None
        scores: Content = {cell: value for cell, value in values if value is not None}
        if scores and text(row["status"]).rpartition(".")[2].casefold() == "complete":
            file, description = text(row["fileName"]), text(row["description"])
            name = text(row.get("ref")) or f"{file} of {text(row['date'])}"
            scored.append(Submission(number, name, file, description, time, scores))
        else:
            left_out.append(number)
    if left_out:
        table.notes.append(f"submissions without a score are left out: rows {listed(left_out)}")
    return sorted(scored, key=lambda submission: submission.time)


def _run_name(
    submission: Submission, runs: dict[str, list[JournalRun]], notes: list[str]
) -> str | None:
    """The name of the run that a submission names; None, and a note, if that is not clear."""
    for words in (submission.description, PurePath(submission.file).stem):
        names = [name for name in runs if _is_in(name, words)]
        if not names:
            continue
        longest = max(names, key=len)
        others = [name for name in names if name not in longest]
        if not others and len(runs[longest]) == 1:
            return longest
        what = f"{longest} and {others[0]}" if others else f"several runs called {longest}"
        notes.append(f"row {submission.row} {words!r} names {what}: a row of its own")
        return None
    return None


def _is_in(name: str, words: str) -> bool:
    """Check if a text contains a whole name; spaces around "+" do not matter."""
    if len(name) < _SHORTEST:
        return name == words
    name, words = (re.sub(r"\s*\+\s*", "+", text) for text in (name, words))
    return bool(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", words, re.IGNORECASE))


def _row(submission: Submission, kind: str, run: JournalRun | None) -> Row:
    """A row of its own; lists of older commands have no number and no fractions of a second."""
    content: Content = {
        KIND: kind,
        EXPERIMENT: submission.description or PurePath(submission.file).stem,
        _SUBMISSION: submission.name,
        _FILE: submission.file,
        **({START: submission.time} if submission.time else {}),
        **submission.scores,
    }
    if run is None:
        return Row(submission.row, content, identity(KAGGLE, submission.name))
    before = content_of(run)
    content |= {cell: before[cell] for cell in (START, _SUBMISSION) if cell in before}
    return Row(submission.row, content, stored.key_of(run))
