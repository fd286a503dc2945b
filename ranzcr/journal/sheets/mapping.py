"""Mapping of a table's columns to the journal's: known by name, or set in YAML."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Literal

import yaml

from ranzcr import settings
from ranzcr.errors import ConfigError, nearest
from ranzcr.files import replacing
from ranzcr.journal.columns import IMPORTED, Column
from ranzcr.journal.sheets.cells import CellError, number
from ranzcr.journal.sheets.tables import Layout, SheetTable
from ranzcr.tracking.delivery import safe_name
from ranzcr.tracking.names import Kind, Metric, Param

_SKIP, _PERCENT = "skip", " %"
_PLACES = {"metrics": "number", "params": "text", "tags": "text"}  # and how their cells are read
_RESERVED = ("tags.mlflow.", "tags.run_key", "tags.imported_")
_NAMES = {column.heading: name for name, column in IMPORTED.items() if column.heading}
_NAMES |= {name: name for name in IMPORTED}
_NEPTUNE = {  # in its exports, and in those of its older versions
    **{"sys/id": "row_id", "sys/name": "experiment", "sys/creation_time": "start_time"},
    **{"sys/owner": "author", "sys/description": "note"},
    **{"id": "row_id", "name": "experiment", "created": "start_time", "finished": "end_time"},
    **{"owner": "author", "notes": "note"},
}
_SETTINGS = {"img_size": "image_size", "resolution": "image_size", "encoder": "backbone"}
_SETTINGS |= {name: name for name in ("image_size", "backbone", "head")}
_ABOUT = (
    "# What each column is in the journal: ranzcr journal import FILE --map THIS_FILE\n"
    f"{textwrap.fill(', '.join(IMPORTED), 98, initial_indent='# ', subsequent_indent='# ')},\n"
    "# metrics.NAME, params.NAME, tags.NAME, auc/LABEL, auc_fold/0, skip; cv_auc % is in percent.\n"
    "# A column with '' becomes the param imported.COLUMN. `source` finds rows again: keep it.\n"
    "# More keys: sep, encoding, sheet, header_row, decimal (','), date_format ('%d.%m.%Y').\n"
)


class Mapping(Layout):
    """The layout of a table, and the meaning of its columns."""

    source: str = ""  # its rows are found again by this name; the file's if empty
    kind: Literal["", "single", "pseudo", "ensemble"] = ""  # of rows without one
    columns: dict[str, str]  # by the table's names, see `parse`; "" for a column to fill in

    def targets(self, where: str) -> dict[str, Column]:
        """Return the journal's column for each column that is not skipped.

        Raises ConfigError for an unknown target, and for two columns with one target.
        """
        targets: dict[str, Column] = {}
        taken: dict[str, str] = {}
        for name, target in self.columns.items():
            if target == _SKIP:
                continue
            try:
                targets[name] = parse(target) if target else _kept(name)
            except ConfigError as error:
                raise ConfigError(f"{where}: columns: {name}: {error}") from None
            other = taken.setdefault(targets[name].source, name)
            if other != name:
                both = f"{other!r} and {name!r} are both {target or targets[name].source}"
                raise ConfigError(f"{where}: columns: {both}; skip one, or name it params.NAME")
        return targets


def parse(target: str) -> Column:
    """Return the column that a mapping calls "cv_auc", "cv_auc %", "params.lr" or "auc_fold/0".

    Raises ConfigError for a target that the journal does not have.
    """
    name = target.removesuffix(_PERCENT)
    column = IMPORTED.get(name) or _dotted(name)
    if column is None:
        known = [*IMPORTED, _SKIP, "auc_fold/0", "metrics.NAME", "params.NAME", "tags.NAME"]
        raise ConfigError(f"the journal has no {target!r}; {nearest(target, known)}")
    if name != target and column.reading != "score":
        raise ConfigError(f"{target!r}: only an AUC can be in percent; write {name!r}")
    return column if name == target else replace(column, reading="percent")


def guess(table: SheetTable, kind: str | None) -> Mapping:
    """Return the mapping of a table with the journal's names and headings, or of Neptune.

    A column with another name has the target "".
    """
    names = set(table.columns)
    columns = {name: _NAMES.get(name) or (name if _dotted(name) else "") for name in table.columns}
    if {"sys/id", "sys/name"} <= names or {"id", "name", "owner", "running_time"} <= names:
        columns = {name: _neptune(name, table) for name in table.columns}
    blends = "members" in columns.values() or re.search("ensembl|blend", table.source.casefold())
    kind = kind or (Kind.ENSEMBLE if blends else Kind.SINGLE)
    return Mapping(source=table.source, kind=kind, columns=columns)


def read(file: Path) -> Mapping:
    """Read a YAML file. Raises ConfigError for unknown keys, kinds and targets."""
    mapping = settings.load(Mapping, file)
    mapping.targets(str(file))
    return mapping


def complete(mapping: Mapping, table: SheetTable, kind: str | None, file: str) -> Mapping:
    """Add the source, the kind and all columns of a table.

    Raises ConfigError for a column that the table does not have.
    """
    for name in mapping.columns.keys() - set(table.columns):
        advice = nearest(name, table.columns)
        raise ConfigError(f"{file}: columns: {table.file} has no {name!r}; {advice}")
    values = {
        "source": mapping.source or table.source,
        "kind": kind or mapping.kind or Kind.SINGLE,
        "columns": dict.fromkeys(table.columns, "") | mapping.columns,
    }
    return mapping.model_copy(update=values)


def write(mapping: Mapping, file: Path) -> None:
    """Write a mapping as YAML that `read` takes."""
    values = mapping.model_dump(exclude_defaults=True)
    with replacing(file) as beside:
        content = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)
        beside.write_text(_ABOUT + content, encoding="utf-8")


def _dotted(name: str) -> Column | None:
    """Return the column of "auc/LABEL", "auc_fold/0" or "params.NAME"; None for other names."""
    if name.startswith((Metric.LABEL_AUC, Metric.FOLD_AUC)) and not name.endswith("/"):
        return Column(name, f"metrics.{safe_name(name)}", reading="score")
    place, _, key = name.partition(".")
    if place not in _PLACES or not key or name.startswith(_RESERVED):
        return None
    # A column by its long name is read as that column: params.cfg.model.head is head.
    columns = (column for column in IMPORTED.values() if column.source == name)
    return next(columns, Column(name, f"{place}.{safe_name(key)}", reading=_PLACES[place]))


def _kept(name: str) -> Column:
    """Return the column of a name that the journal does not know."""
    return Column(name, f"params.{safe_name(Param.IMPORTED + name)}", reading="text")


def _neptune(name: str, table: SheetTable) -> str:
    """Return the target of one of Neptune's fields, settings and series."""
    group, _, rest = name.partition("/" if "/" in name else "_")
    setting = rest.rpartition("/")[2]
    if name in _NEPTUNE:
        return _NEPTUNE[name]
    if group in ("parameters", "parameter") and setting in _SETTINGS:
        return _SETTINGS[setting]
    if group in ("metrics", "logs", "scores", "channel"):
        try:
            for cells in table.rows.values():
                number(cells[name], Layout())
            return f"metrics.{rest}"
        except CellError:  # texts
            pass
    return _kept(name).source
