"""Which column of a table is what in the journal: guessed from its header, or told by YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Pairs
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import yaml

from ranzcr.errors import ConfigError, nearest
from ranzcr.files import replacing
from ranzcr.journal.columns import KINDS
from ranzcr.journal.sheets import cells, fields
from ranzcr.journal.sheets.fields import PERCENT, SKIP, Field
from ranzcr.journal.sheets.header import Names, Table
from ranzcr.settings import read as read_settings
from ranzcr.tables import table, to_text

_NEAR = 0.87  # how like a known name a header must be, 0 to 1
_SHORT = 4  # characters; of shorter words too many are alike: fold, folds
_EXAMPLE = 40  # characters
_FITTING = {  # what all cells must be, for headers that may mean other things
    "run_key": "[0-9a-f]{32}",
    "kind": "|".join(KINDS) + "|",
    "status": "FINISHED|FAILED|KILLED|RUNNING|SCHEDULED|",
}
_METRICS = re.compile(r"(?:metrics|logs|scores)/(.+)")  # how Neptune's runs name their scores
_ABOUT = (
    "# The columns of a table and what they are in the journal: ranzcr journal import FILE --map\n"
    "# `skip` leaves a column out; a column that is not named here is kept as a parameter.\n"
    "# Rows are found again by `source`: keep it when the file gets another name.\n"
)


@dataclass(frozen=True)
class Mapping:
    """What each column is. Rows of the same `source` are found again."""

    source: str
    kind: str  # of rows that do not tell theirs
    targets: Pairs[str, str]  # column -> see `fields.parse`
    told_by: str = ""  # the YAML file; "" where guessed

    def columns(self) -> dict[str, tuple[Field, bool]]:
        """The field of each column that is not left out, and whether it is in percent."""
        used = {name: told for name, told in self.targets.items() if told != SKIP}
        return {name: fields.parse(told) for name, told in used.items()}


def recognised(names: Names) -> int:
    """How many of a header's names mean something, without looking at cells."""
    return len(_named(names)) + sum(fields.of_pattern(name) is not None for name in names)


def guess(found: Table, kind: str | None = None) -> Mapping:
    """What the columns of a table probably are.

    Args:
        found: the table.
        kind: of its rows; by its name and columns where None.
    """
    named = {name: told for told, name in _named(found.columns, found).items()}
    targets = {name: named.get(name) or _other(name, found) for name in found.columns}
    for name, told in _near(found.columns, targets).items():
        targets[name] = told
    for name, told in targets.items():
        if "%" in name and told in fields.FIELDS and fields.FIELDS[told].reading == "score":
            targets[name] = told + PERCENT
    return Mapping(found.source, kind or _kind(found, targets), _distinct(targets))


def read(file: Path) -> Mapping:
    """The mapping that a YAML file tells, as `write` writes it; `source` and `kind` may be absent.

    Raises ConfigError for what is unknown or told twice.
    """
    told = _load(file)
    source, kind = str(told.get("source") or ""), str(told.get("kind") or "single")
    if kind not in KINDS:
        raise ConfigError(f"{file}: kind: no {kind!r}; {nearest(kind, KINDS)}")
    return Mapping(source, kind, _targets(file, told["columns"]), str(file))


def complete(mapping: Mapping, found: Table, kind: str | None = None) -> Mapping:
    """A mapping for a table: columns that it does not tell are kept as parameters.

    Args:
        mapping: see `read`.
        found: the table.
        kind: wins over the mapping's.

    Raises ConfigError for a column that the table does not have.
    """
    for name in mapping.targets:
        if name not in found.columns:
            raise ConfigError(
                f"{mapping.told_by}: columns: {found.file} has no {name!r}; "
                f"{nearest(name, found.columns)}"
            )
    others = {name: _kept(name) for name in found.columns if name not in mapping.targets}
    targets = _distinct({**mapping.targets, **others})
    return replace(
        mapping, source=mapping.source or found.source, kind=kind or mapping.kind, targets=targets
    )


def write(mapping: Mapping, file: Path) -> None:
    """Write a mapping as YAML, to be edited and given to `read`."""
    told = {"source": mapping.source, "kind": mapping.kind, "columns": dict(mapping.targets)}
    with replacing(file) as beside:
        text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=1000)
        beside.write_text(_ABOUT + text, encoding="utf-8")


def render(mapping: Mapping, found: Table) -> str:
    """What each column is taken for, with an example from the table."""
    if all(name == told for name, told in mapping.targets.items()):
        return f"{found.file}: columns as ranzcr journal export names them\n"
    rows = [(name, _example(found, name), told) for name, told in mapping.targets.items()]
    how = f"as {mapping.told_by} tells" if mapping.told_by else "guessed"
    title = f"columns of {found.file}, {how}; rows are of kind {mapping.kind} unless they tell"
    return to_text([table(title, ["column", "first cell", "in the journal"], rows)])


def _named(names: Names, found: Table | None = None) -> dict[str, str]:
    """Field -> the column that has one of its names; each column has one field."""
    words = {fields.normalised(name): name for name in reversed(names)}
    for name in names:
        for alias in _shortened(name):
            words.setdefault(alias, name)
    taken: dict[str, str] = {}
    for field, synonyms in fields.SYNONYMS.items():
        free = (words[one] for one in synonyms if one in words)
        fitting = (
            name for name in free if name not in taken.values() and _fits(field, name, found)
        )
        name = next(fitting, None)
        if name is not None:
            taken[field] = name
    return taken


def _shortened(name: str) -> list[str]:
    """A header's words without what stands in brackets, and without what is before the last "/"."""
    plain = re.sub(r"[(\[].*?[)\]]", "", name)
    return [fields.normalised(plain), fields.normalised(plain.rpartition("/")[2])]


def _fits(field: str, name: str, found: Table | None) -> bool:
    """Whether the cells allow the guess: "type" may be no kind, and "id" no identity."""
    if found is None or name == "run_key":
        return True
    values = [cells.text(row[name]) for row in found.rows.values()]
    if field == "row_id":
        return "" not in values and len(set(values)) == len(values)
    pattern = _FITTING.get(field, ".*")
    return all(re.fullmatch(pattern, value, re.IGNORECASE | re.DOTALL) for value in values)


def _other(name: str, found: Table) -> str:
    """A column without a field of its own: a fold's score, a metric, or kept as a parameter."""
    values = [row[name] for row in found.rows.values()]
    pattern = fields.of_pattern(name)
    if pattern is not None:
        return pattern
    metric = _METRICS.fullmatch(name)
    if metric and not cells.fails(cells.number, values):
        return f"metrics.{metric[1]}"
    return SKIP if name == "column A" and _counts(values) else _kept(name)


def _counts(values: Sequence[cells.Cell]) -> bool:
    """Whether a nameless first column only numbers the rows, as pandas writes it."""
    return [cells.text(value) for value in values] == [str(index) for index in range(len(values))]


def _kept(name: str) -> str:
    return f"params.imported.{name}"


def _near(names: Iterable[str], targets: Pairs[str, str]) -> dict[str, str]:
    """Fields for columns whose names are misspelt: "bacbone"."""
    free = {
        word: field
        for field, words in fields.SYNONYMS.items()
        if field not in targets.values()
        for word in words
        if len(word) > _SHORT
    }
    found: dict[str, str] = {}
    for name in names:
        word = fields.normalised(name)
        near = get_close_matches(word, free, n=1, cutoff=_NEAR) if len(word) > _SHORT else []
        if near and targets[name] == _kept(name) and free[near[0]] not in found.values():
            found[name] = free[near[0]]
    return found


def _distinct(targets: Pairs[str, str]) -> dict[str, str]:
    """No two columns are one thing: "CV?" and "CV!" have the same name in MLflow."""
    taken: set[str] = set()
    distinct: dict[str, str] = {}
    for name, told in targets.items():
        unique, times = told, 1
        while unique != SKIP and fields.parse(unique)[0].cell in taken:
            times += 1
            unique = f"{told} {times}"
        if unique != SKIP:
            taken.add(fields.parse(unique)[0].cell)
        distinct[name] = unique
    return distinct


def _kind(found: Table, targets: Pairs[str, str]) -> str:
    blends = re.search("ensembl|blend", found.source, re.IGNORECASE)
    return "ensemble" if blends or "members" in targets.values() else "single"


def _load(file: Path) -> dict:
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; write one with --write-map")
    told = read_settings(file)
    known = ("source", "kind", "columns")
    if not isinstance(told.get("columns"), dict):
        raise ConfigError(f"{file}: expected `columns:` with a line `column: what it is` for each")
    for key in told:
        if key not in known:
            raise ConfigError(f"{file}: no key {key!r}; {nearest(str(key), known)}")
    return told


def _targets(file: Path, told: dict) -> dict[str, str]:
    targets = {str(name): str(target) for name, target in told.items()}
    taken: dict[str, str] = {}
    for name, target in targets.items():
        if target == SKIP:
            continue
        try:
            cell = fields.parse(target)[0].cell
        except ConfigError as error:
            raise ConfigError(f"{file}: columns: {name}: {error}") from None
        if cell in taken:
            raise ConfigError(
                f"{file}: columns: {taken[cell]!r} and {name!r} are both {target}; skip one"
            )
        taken[cell] = name
    return targets


def _example(found: Table, name: str) -> str:
    values = (cells.text(row[name]) for row in found.rows.values())
    return next(filter(None, values), "")[:_EXAMPLE]
