"""The table of the journal's columns: show, filters, views, diff, import, export and docs use it.

A new metric is one more `_metric(..., appended=True)` in COLUMNS.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from typing import Any

from ranzcr.journal import changes
from ranzcr.journal.journal_run import JournalRun, Record
from ranzcr.tracking.names import Kind, Metric, Param, Tag

Cell = str | float | None  # None for an unknown number, "" for an unknown text
Row = Mapping[str, Cell]  # by the columns' names

KINDS = (Kind.SINGLE, Kind.PSEUDO, Kind.ENSEMBLE)  # in the order of the tables
_SINGLE = (Kind.SINGLE,)
_SCORED = (Kind.SINGLE, Kind.ENSEMBLE)
_CHANGES = 60  # characters of the changes in a table; CSV and XLSX have all of them


@dataclass(frozen=True)
class Column:
    """One column of the journal."""

    name: str  # in CSV, filters and mappings
    source: str = ""  # where the value is stored: metrics.KEY, params.KEY, tags.KEY or an attribute
    about: str = ""  # for docs/journal.md
    kinds: tuple[str, ...] = ()  # kinds that have it, in tables and saved views
    heading: str = ""  # in tables; the name if not set
    format: Callable[[Any], str] = str  # makes the text in tables; not called for None
    _: KW_ONLY
    value: Callable[[JournalRun, Record], Cell] | None = None  # computed; replaces the stored value
    reading: str = ""  # how an import reads its cells; "" if it is not imported
    in_tables: bool = True  # of its kinds
    shown: bool = True  # in CSV and XLSX files of `journal show`, and in filters
    appended: bool = False  # in CSV and XLSX after the columns whose order is promised
    compared: bool = False  # by `journal diff`
    width: int = 12  # characters in a workbook

    @property
    def place(self) -> str:
        """metrics, params or tags; "" for an attribute of the run and for computed cells."""
        return self.source.partition(".")[0] if "." in self.source else ""

    @property
    def key(self) -> str:
        """The name of the metric, param, tag or attribute."""
        return self.source.partition(".")[2] or self.source

    def of(self, run: JournalRun, record: Record) -> Cell:
        """The cell of a run."""
        if self.value is not None:
            return self.value(run, record)
        if self.place == "metrics":
            return finite(run.metrics.get(self.key))
        if self.place:
            return str(getattr(run, self.place).get(self.key, ""))
        return str(getattr(run, self.key))

    def text(self, cell: Cell) -> str:
        """A cell as tables show it."""
        return "" if cell is None else self.format(cell)


def finite(value: float | None) -> float | None:
    """A finite number; None for NaN and infinity."""
    return value if value is not None and math.isfinite(value) else None


def members(tags: Mapping[str, str]) -> str:
    """The members of a blend with their weights: "smoke_a:0.600 smoke_b:0.400"."""
    try:
        weights = json.loads(tags[Tag.WEIGHTS])
        return " ".join(f"{name}:{weight:.3f}" for name, weight in weights.items())
    except (KeyError, ValueError, AttributeError, TypeError):  # missing, or written by hand
        return " ".join(tags.get(Tag.MEMBERS, "").split(","))


def interval(metrics: Mapping[str, float]) -> str:
    """The CV with its interval, "0.8123 [0.7812, 0.8410]"; "" if there is none."""
    names = (Metric.CV_AUC, Metric.CV_AUC_LO, Metric.CV_AUC_HI)
    cv, lo, hi = (finite(metrics.get(name)) for name in names)
    if cv is None:
        return ""
    return f"{cv:.4f}" if lo is None or hi is None else f"{cv:.4f} [{lo:.3f}, {hi:.3f}]"


def time_text(milliseconds: int) -> str:
    """UTC to the second, "2026-11-22T14:05:58Z"; "" for 0."""
    if not milliseconds:
        return ""
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _shortened(change: str) -> str:
    """The first of a list of changes, as many as fit."""
    if len(change) <= _CHANGES:
        return change
    start = change[: _CHANGES - 3]
    return f"{start.rpartition(', ')[0] or start}, …"


def _tag(key: str, about: str = "", *tables: Any, name: str = "", **more: Any) -> Column:
    return Column(name or key, f"tags.{key}", about, *tables, **more)


def _param(name: str, key: str, about: str, **more: Any) -> Column:
    return Column(name, f"params.{key}", about, _SINGLE, **more)


def _metric(key: str, about: str = "", *tables: Any, reading: str = "score", **more: Any) -> Column:
    return Column(key, f"metrics.{key}", about, *tables, reading=reading, **more)


def _input(key: str, heading: str = "") -> Column:
    """A tag that only `journal diff` shows."""
    shorten = "{:.12}".format if heading else str
    return _tag(key, "", (), heading, shorten, shown=False, compared=True)


# In the order of tables and exports.
COLUMNS = (
    Column("run_key", "run_key", reading="text", shown=False),
    Column("row_id", "row_id", reading="text", shown=False),
    _tag(Tag.KIND, "`single`, `pseudo` or `ensemble`", reading="kind", compared=True),
    _tag(
        *(Tag.EXPERIMENT, "name of the experiment or blend", KINDS),
        value=lambda run, _: run.experiment,
        reading="words",
        width=28,
    ),
    _tag(Tag.PARENT, "the experiment that it extends", _SINGLE, reading="words"),
    Column(
        "changed",
        about="settings that differ from `parent`: from its run in this journal, preferably on the "
        "same data set, else from the packaged experiment",
        kinds=_SINGLE,
        format=_shortened,
        value=changes.describe,
        appended=True,
        width=44,
    ),
    _input(Tag.DATASET_DIGEST, "data"),
    _input(Tag.CODE),
    _input(Tag.GIT_COMMIT, "git commit"),
    _param("backbone", Param.BACKBONE, "timm model", reading="words", width=28),
    _param("head", Param.HEAD, "maps the backbone's features to logits", reading="words"),
    _param("image_size", Param.IMAGE_SIZE, "pixels per side", reading="size"),
    _tag(Tag.FOLDS, "number of finished folds", _SINGLE, reading="folds"),
    _tag(
        *(Tag.TEACHERS, "experiments whose soft labels it learned from"),
        (Kind.SINGLE, Kind.PSEUDO),
        reading="names",
        compared=True,
    ),
    _input(Tag.SOFT_LABELS, "soft labels"),
    _tag(
        *(Tag.MEMBERS, "experiments of a blend with their weights", (Kind.ENSEMBLE,)),
        value=lambda run, _: members(run.tags),
        reading="names",
        compared=True,
    ),
    Column(
        "cv_interval",
        kinds=_SCORED,
        heading="CV [95%]",
        value=lambda run, _: interval(run.metrics),
        shown=False,
        compared=True,
    ),
    _metric(Metric.CV_AUC, "macro AUC over all out-of-fold rows", _SCORED, in_tables=False),
    _metric(Metric.CV_AUC_LO, "lower end of its 95% interval", _SCORED, in_tables=False),
    _metric(Metric.CV_AUC_HI, "upper end of its 95% interval", _SCORED, in_tables=False),
    _metric(Metric.CV_AUC_FOLDS_MEAN, shown=False),
    _metric(Metric.CV_AUC_FOLDS_STD, reading="number", shown=False),
    _metric(Metric.LB_PUBLIC, "public leaderboard score", _SCORED, "LB public", "{:.5f}".format),
    _metric(Metric.LB_PRIVATE, "private leaderboard score", _SCORED, "LB private", "{:.5f}".format),
    _metric(
        *(Metric.GPU_HOURS, "training time of all folds", _SCORED, "GPU h", "{:.1f}".format),
        reading="number",
    ),
    _tag(Tag.DECISION, "set by `journal decide`", KINDS, reading="words", width=24),
    Column(
        "state",
        about="`running`, `finished`, `failed` or `killed`; tables leave `finished` out",
        kinds=KINDS,
        format=lambda state: "" if state == "finished" else state,
        value=lambda run, _: run.status.lower(),
        appended=True,
    ),
    Column("run_id", "run_id", "id of the MLflow run", KINDS, "run", "{:.8}".format, width=34),
    Column(
        "started",
        about="start of the run, UTC",
        value=lambda run, _: time_text(run.started),
        appended=True,
    ),
    _tag(Tag.AUTHOR, "who ran or imported it", reading="words", appended=True),
    Column(
        "link",
        about="its page in MLflow; links of a local journal work while `ranzcr ui` runs",
        value=lambda run, record: record.link(run),
        appended=True,
    ),
    _tag(Tag.NOTE, name="note", reading="note", shown=False),
    Column("start_time", "start_time", reading="moment", shown=False),
    Column("end_time", "end_time", reading="moment", shown=False),
    Column("status", "status", reading="status", shown=False),
)
BY_NAME = {column.name: column for column in COLUMNS}
SHOWN = tuple(
    sorted((column for column in COLUMNS if column.shown), key=lambda column: column.appended)
)  # in the order of CSV and XLSX
CELLS = tuple(column for column in COLUMNS if column.shown or column.kinds)  # of a row
IMPORTED = {column.name: column for column in COLUMNS if column.reading}


def table_of(kind: str) -> list[Column]:
    """The columns of the table of one kind; an unknown kind has those of single models."""
    kind = kind if kind in KINDS else Kind.SINGLE
    return [column for column in COLUMNS if kind in column.kinds and column.in_tables]


def stored_of(kind: str) -> list[str]:
    """Sources of the columns of one kind that are shown as stored: metrics, params, then tags."""
    stored = [column for column in COLUMNS if kind in column.kinds and column.value is None]
    places = ("metrics", "params", "tags")
    return [column.source for place in places for column in stored if column.place == place]
