"""What an experiment changed against its parent, in few words: "head: concat→attention"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

from ranzcr.journal.entries import Entry

Params = Mapping[str, str]

_PREFIX = "cfg."
_RECIPE = f"{_PREFIX}training.recipe."
_OTHERWISE_SHOWN = ("cfg.name", "cfg.teachers")
_SECTIONS = ("model.", "data.", "training.recipe.", "training.")  # in the order they are told


class Parents:
    """The experiments of a journal by name, to find what a run descends from."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._named: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            self._named[entry.experiment].append(entry)

    def changes(self, entry: Entry) -> str:
        """`entry` against its parent's run, or against the packaged experiment where it has none.

        "" where there is no parent, where nothing is known of one of the two, and where nothing
        changed.
        """
        parent = entry.tags.get("parent", "")
        return ", ".join(compare(self._params(parent, entry), entry.params)) if parent else ""

    def _params(self, parent: str, child: Entry) -> Params:
        """The settings of the parent's newest run, on the child's own data set if it has one."""
        runs = [
            run
            for run in self._named.get(parent, [])
            if run is not child and "cfg.name" in run.params
        ]
        if not runs:
            return _packaged(parent)
        data = child.tags.get("dataset_digest")
        return next((run for run in runs if run.tags.get("dataset_digest") == data), runs[0]).params


def compare(before: Params, after: Params) -> list[str]:
    """The settings that both have with other values, then phases that came or went, one text each.

    A setting that only one of them has says nothing: it is younger than the other run, or was not
    imported.
    """
    changed = [
        name
        for name, value in after.items()
        if before.get(name, value) != value
        and name.startswith(_PREFIX)
        and name not in _OTHERWISE_SHOWN
    ]
    told = [f"{_short(name)}: {before[name]}→{after[name]}" for name in sorted(changed, key=_order)]
    if before.keys() != after.keys():
        told += _other_phases(_phases(before), _phases(after))
    return told


@cache
def _packaged(name: str) -> Params:
    """The settings of an experiment that comes with the package; none for any other."""
    from ranzcr import config  # a tenth of a second that most journals do not need
    from ranzcr.tracking import settings

    return settings.of_experiment(config.load(name)) if name in config.names() else {}


def _phases(params: Params) -> set[str]:
    """Names of the recipe's phases: "+soft" says more than its 14 settings."""
    names = (key.removeprefix(_RECIPE) for key in params if key.startswith(_RECIPE))
    return {name.rpartition(".")[0] for name in names}


def _other_phases(before: set[str], after: set[str]) -> list[str]:
    """["phases: +soft -train"], or [] where they are the same or one run has no recipe."""
    if before == after or not before or not after:
        return []
    signed = [f"+{phase}" for phase in after - before] + [f"-{phase}" for phase in before - after]
    return [f"phases: {' '.join(sorted(signed))}"]


def _section(name: str) -> int:
    bare = name.removeprefix(_PREFIX)
    found = (place for place, section in enumerate(_SECTIONS) if bare.startswith(section))
    return next(found, len(_SECTIONS))


def _order(name: str) -> tuple[int, str]:
    return _section(name), name


def _short(name: str) -> str:
    """A setting without its section: "head", "batch_size", "warmup.lr"."""
    place = _section(name)
    return name.removeprefix(_PREFIX).removeprefix(_SECTIONS[place] if place < 4 else "")
