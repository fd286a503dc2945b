"""Which column of a table is which in the journal: known by its name, or set in YAML."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import yaml

from ranzcr import settings
from ranzcr.errors import ConfigError, nearest
from ranzcr.files import replacing
from ranzcr.journal.columns import IMPORTED, Column
from ranzcr.journal.sheets import cells
from ranzcr.journal.sheets.tables import Cell, Layout, Table
from ranzcr.tracking.delivery import safe_name
from ranzcr.tracking.names import Kind, Metric, Param

SKIP = "skip"
PERCENT = " %"  # behind a score: the column is in percent

_PLACES = {"metrics": "number", "params": "text", "tags": "text"}  # the place: how it is read
_RESERVED = ("tags.mlflow.", "tags.run_key", "tags.imported_")
_HEADINGS = {column.heading: name for name, column in IMPORTED.items() if column.heading}
_NEPTUNE = {
    **{"sys/id": "row_id", "sys/name": "experiment", "sys/creation_time": "start_time"},
    **{"sys/owner": "author", "sys/description": "note", "sys/failed": "status"},
}
_OLD_NEPTUNE = {
    **{"id": "row_id", "name": "experiment", "created": "start_time", "finished": "end_time"},
    **{"owner": "author", "notes": "note"},
}
_SETTINGS = {"img_size": "image_size", "resolution": "image_size", "encoder": "backbone"}
_SETTINGS |= {name: name for name in ("image_size", "backbone", "head")}
_SETTING = re.compile(r"parameters/(?:.*/)?([^/]+)|parameter_(.+)")
_METRIC = re.compile(r"(?:metrics|logs|scores)/(.+)|channel_(.+)")
_ABOUT = (
    "# What each column is in the journal: ranzcr journal import FILE --map THIS_FILE\n"
    f"# {', '.join(IMPORTED)},\n"
    "# metrics.NAME, params.NAME, tags.NAME, auc/LABEL, auc_fold/0, skip; cv_auc % is in percent.\n"
    "# A column with '' becomes the param imported.COLUMN. `source` finds rows again: keep it.\n"
    "# More keys: sep, encoding, sheet, header_row, decimal (','), date_format ('%d.%m.%Y').\n"
)


class Mapping(Layout):
    """How a table is laid out, and what its columns are."""

    source: str = ""  # its rows are found again by this name; the file's if empty
    kind: Literal["", "single", "pseudo", "ensemble"] = ""  # of rows without one
    columns: dict[str, str]  # by the table's names, see `parse`; "" for a column to fill in

    def targets(self, where: str) -> dict[str, Column]:
        """The journal's column for each column that is not skipped.

        Raises ConfigError, beginning with `where`, if two columns have one target.
        """
        targets: dict[str, Column] = {}
        for name, target in self.columns.items():
            if target == SKIP:
                continue
            try:
                column = parse(target) if target else _kept(name)
            except ConfigError as error:
                raise ConfigError(f"{where}: columns: {name}: {error}") from None
            for other, taken in targets.items():
                if taken.source == column.source:
                    raise ConfigError(
                        f"{where}: columns: {other!r} and {name!r} are both {target or 'kept'} in "
                        "MLflow; skip one, or name it params.NAME"
                    )
            targets[name] = column
        return targets


def parse(target: str) -> Column:
    """The column that a mapping calls "cv_auc", "cv_auc %", "params.lr" or "auc_fold/0".

    Raises ConfigError for a target that the journal does not have.
    """
    name = target.removesuffix(PERCENT)
    column = IMPORTED.get(name) or _dotted(name)
    if column is None:
        known = [*IMPORTED, SKIP, "auc_fold/0", "metrics.NAME", "params.NAME", "tags.NAME"]
        raise ConfigError(f"the journal has no {target!r}; {nearest(target, known)}")
    if name != target and column.reading != "score":
        raise ConfigError(f"{target!r}: only an AUC can be in percent; write {name!r}")
    return column if name == target else replace(column, reading="percent")


def guess(table: Table, kind: str | None) -> Mapping:
    """The mapping of a table of Neptune, or with the journal's names and headings.

    A column with another name has the target "".
    """
    if {"sys/id", "sys/name"} <= set(table.columns):
        columns = {name: _NEPTUNE.get(name) or _neptune(name, table) for name in table.columns}
    elif {*_OLD_NEPTUNE, "running_time"} <= set(table.columns):
        columns = {name: _OLD_NEPTUNE.get(name) or _neptune(name, table) for name in table.columns}
    else:
        names = {name: _HEADINGS.get(name, name) for name in table.columns}
        columns = {
            c: name if name in IMPORTED or _dotted(name) else "" for c, name in names.items()
        }
    blends = "members" in columns.values() or re.search("ensembl|blend", table.source.casefold())
    kind = kind or (Kind.ENSEMBLE if blends else Kind.SINGLE)
    return Mapping(source=table.source, kind=kind, columns=columns)


def read(file: Path) -> Mapping:
    """The mapping in a YAML file. Raises ConfigError for unknown keys, kinds and targets."""
    mapping = settings.load(Mapping, file)
    mapping.targets(str(file))
    return mapping


def complete(mapping: Mapping, table: Table, kind: str | None, file: str) -> Mapping:
    """A mapping with the kind, the source and all columns of a table.

    Raises ConfigError for a column that the table does not have.
    """
    for name in mapping.columns:
        if name not in table.columns:
            raise ConfigError(
                f"{file}: columns: {table.file} has no {name!r}; {nearest(name, table.columns)}"
            )
    values = {
        "source": mapping.source or table.source,
        "kind": kind or mapping.kind or Kind.SINGLE,
        "columns": {**mapping.columns, **dict.fromkeys(table.columns, ""), **mapping.columns},
    }
    return mapping.model_copy(update=values)


def write(mapping: Mapping, file: Path) -> None:
    """Write a mapping as YAML that `read` takes."""
    values = mapping.model_dump(exclude_defaults=True)
    with replacing(file) as beside:
        content = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)
        beside.write_text(_ABOUT + content, encoding="utf-8")


def _dotted(name: str) -> Column | None:
    """The column of "auc/LABEL", "auc_fold/0" or "params.NAME"; None if it is none of these."""
    if name.startswith((Metric.LABEL_AUC, Metric.FOLD_AUC)) and not name.endswith("/"):
        return Column(name, f"metrics.{safe_name(name)}", reading="score")
    place, _, key = name.partition(".")
    if place not in _PLACES or not key or name.startswith(_RESERVED):
        return None
    # A column by its long name is read as that column: params.cfg.model.head is head.
    known = (column for column in IMPORTED.values() if column.source == name)
    return next(known, Column(name, f"{place}.{safe_name(key)}", reading=_PLACES[place]))


def _kept(name: str) -> Column:
    """The column of a name that the journal does not know."""
    return Column(name, f"params.{safe_name(Param.IMPORTED + name)}", reading="text")


def _neptune(name: str, table: Table) -> str:
    """The target of one of Neptune's settings, series and fields."""
    setting, metric = _SETTING.fullmatch(name), _METRIC.fullmatch(name)
    if setting and (setting[1] or setting[2]) in _SETTINGS:
        return _SETTINGS[setting[1] or setting[2]]
    if metric and all(_is_number(row[name]) for row in table.rows.values()):
        return f"metrics.{metric[1] or metric[2]}"
    return _kept(name).source


def _is_number(cell: Cell) -> bool:
    try:
        cells.number(cell)
    except cells.CellError:
        return False
    return True
