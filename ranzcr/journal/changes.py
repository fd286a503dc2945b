"""Changes of an experiment against its parent, in few words: "head: concat→attention"."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ranzcr.journal.journal_run import JournalRun, Record
from ranzcr.tracking.names import Param, Tag

Params = Mapping[str, str]

_RECIPE = f"{Param.SETTINGS}training.recipe."
_SHOWN_ELSEWHERE = (Param.NAME, "cfg.teachers")
_SECTIONS = ("model.", "data.", "training.recipe.", "training.", "")  # in this order


def describe(run: JournalRun, record: Record) -> str:
    """Compare `run` with its parent's run, or with the packaged experiment if it has none.

    Returns "" if there is no parent, if the settings of one of the two are not known, and if
    nothing changed.
    """
    parent = run.tags.get(Tag.PARENT, "")
    return ", ".join(compare(_settings_of(parent, run, record), run.params)) if parent else ""


def _settings_of(parent: str, child: JournalRun, record: Record) -> Params:
    """The settings of the parent's newest run, preferably on the child's own data set."""
    runs = [
        run
        for run in record.by_name.get(parent, [])
        if run is not child and Param.NAME in run.params
    ]
    if not runs:
        return _packaged(parent)
    digest = child.tags.get(Tag.DATASET_DIGEST)
    same_data = (run for run in runs if run.tags.get(Tag.DATASET_DIGEST) == digest)
    return next(same_data, runs[0]).params


def compare(before: Params, after: Params) -> list[str]:
    """Describe each setting that differs, then the phases that were added or removed.

    A setting that only one of the runs has is left out: it is newer than the other run, or was not
    imported.
    """
    changed = [
        name
        for name, value in after.items()
        if before.get(name, value) != value
        and name.startswith(Param.SETTINGS)
        and name not in _SHOWN_ELSEWHERE
    ]
    changes = [f"{_short(key)}: {before[key]}→{after[key]}" for key in sorted(changed, key=_order)]
    if before.keys() != after.keys():
        changes += _phase_changes(_phases(before), _phases(after))
    return changes


@cache
def _packaged(name: str) -> Params:
    """The settings of an experiment that comes with the package; none for any other."""
    from ranzcr import config  # takes 0.1 s, which most journals do not need
    from ranzcr.tracking import params

    return params.of_experiment(config.load(name)) if name in config.names() else {}


def _phases(params: Params) -> set[str]:
    """The names of the recipe's phases: "+soft" is shorter than its 14 settings."""
    names = (key.removeprefix(_RECIPE) for key in params if key.startswith(_RECIPE))
    return {name.rpartition(".")[0] for name in names}


def _phase_changes(before: set[str], after: set[str]) -> list[str]:
    """["phases: +soft -train"], or [] if they are the same or one run has no recipe."""
    if before == after or not before or not after:
        return []
    signed = [f"+{phase}" for phase in after - before] + [f"-{phase}" for phase in before - after]
    return [f"phases: {' '.join(sorted(signed))}"]


def _section(name: str) -> str:
    return next(part for part in _SECTIONS if name.removeprefix(Param.SETTINGS).startswith(part))


def _order(name: str) -> tuple[int, str]:
    return _SECTIONS.index(_section(name)), name


def _short(name: str) -> str:
    """A setting without its section: "head", "batch_size", "warmup.lr"."""
    return name.removeprefix(Param.SETTINGS).removeprefix(_section(name))
