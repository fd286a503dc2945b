"""Checks the arguments of a run and brings them into the form that its tasks take.

A run on this machine and a run on a cluster differ only in their `pipelines.locations`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.lint.tree import Declared
from pipelines.locations import DataLocation, is_folder
from pipelines.options import EXPERIMENTS, FOLDERS, OPTIONS, PART_OF, SOURCES, flag
from ranzcr.config import Experiment
from ranzcr.errors import ConfigError, nearest

_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {  # by KFP's parameter types
    "STRING": ("text", str),
    "NUMBER_INTEGER": ("a whole number", int),
    "NUMBER_DOUBLE": ("a number", float),
    "BOOLEAN": ("true or false", lambda text: {"true": True, "false": False}[text.lower()]),
    "LIST": ("a JSON list", lambda text: _json(text, list)),
    "STRUCT": ("a JSON object", lambda text: _json(text, dict)),
}


def check(
    name: str,
    parameters: Declared,
    location: DataLocation,
    overrides: Sequence[str],
    values: Mapping[str, Any],
    texts: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the arguments of a run, except those that its location settles.

    Args:
        name: of the pipeline, for messages.
        overrides: dotted.key=value, applied to every experiment.
        values: by the names of `pipelines.options`; None, "", [] and False mean the default.
        texts: more parameters as KEY=VALUE, read as the pipeline declares them.

    Raises ConfigError or DataError for the first thing that does not fit.
    """
    values = {key: _names(value) if key in EXPERIMENTS else value for key, value in values.items()}
    values = {key: value for key, value in values.items() if _is_given(value)}
    order = [*OPTIONS, *sorted(parameters)]
    allowed = {
        key: parameters[key]
        for key in sorted(parameters, key=order.index)
        if key not in location.settled
    }
    _check_options(name, allowed, values)
    others = _read_texts(name, allowed, values, texts)
    _check_complete(name, allowed, {*values, *others})
    experiments = {key: _load(values[key], overrides) for key in EXPERIMENTS if key in values}
    _check_experiments(experiments)
    arguments = {**_arguments(location, values, experiments), **others}
    sizes = [experiment.largest_size for group in experiments.values() for experiment in group]
    if "image_size" in allowed and sizes:
        arguments.setdefault("image_size", max(sizes))
    return arguments


def experiments_of(arguments: Mapping[str, Any]) -> list[Experiment]:
    """Return the experiments in the arguments of a run, each once."""
    texts = [text for key in EXPERIMENTS for text in arguments.get(key, ())]
    return [Experiment.from_json(text) for text in texts]


def folds_of(parameters: Declared, arguments: Mapping[str, Any]) -> int:
    """Return the number of folds of a run on this machine; 0 if it trains nothing."""
    if "dataset" in arguments:
        from ranzcr.data.dataset import DatasetDescription

        return DatasetDescription.read(Path(arguments["dataset"])).folds
    default = parameters["folds"]["defaultValue"] if "folds" in parameters else 0
    return int(arguments.get("folds", default))


def folders(arguments: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the folders that the tasks of a run on this machine read."""
    sources = [arguments[key] for key in (*SOURCES, *FOLDERS) if key in arguments]
    sources += [external.rpartition("=")[2] for external in arguments.get("externals", ())]
    return tuple(Path(source) for source in sources if is_folder(source))


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", [])  # 0 is a value


def _check_options(name: str, allowed: Declared, values: Mapping[str, Any]) -> None:
    """Refuse an option that the pipeline does not take."""
    for key in values:
        if PART_OF.get(key, key) not in allowed:
            flags = ", ".join(map(flag, allowed)) or "none"
            raise ConfigError(f"pipeline {name} has no {flag(key)}; it takes {flags}")


def _read_texts(
    name: str, allowed: Declared, values: Mapping[str, Any], texts: Sequence[str]
) -> dict[str, Any]:
    """Return the parameters given as KEY=VALUE."""
    others: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--param {text}: write it as KEY=VALUE")
        if key not in allowed:
            raise ConfigError(f"pipeline {name} has no parameter {key!r}; {nearest(key, allowed)}")
        if key in values or key in others:
            raise ConfigError(f"--param {text}: {key} is given twice; give it once")
        expected, reader = _READERS[allowed[key]["parameterType"]]
        try:
            others[key] = reader(value)
        except (ValueError, LookupError):
            raise ConfigError(f"--param {text}: not {expected}") from None
    return others


def _json(text: str, kind: type) -> Any:
    value = json.loads(text)
    if not isinstance(value, kind):
        raise ValueError(text)
    return value


def _check_complete(name: str, allowed: Declared, given: set[str]) -> None:
    for key, parameter in allowed.items():
        if key in given or parameter.get("isOptional") or "defaultValue" in parameter:
            continue
        if key in EXPERIMENTS:
            from ranzcr import config

            known = ", ".join(config.names())
            raise ConfigError(f"{flag(key)} names no experiment; known: {known}")
        raise ConfigError(f"pipeline {name} needs {flag(key)}; give it")


def _check_experiments(experiments: Mapping[str, Sequence[Experiment]]) -> None:
    """Raise ConfigError if an experiment is in the wrong stage, twice, or lacks its teacher."""
    names = [experiment.name for group in experiments.values() for experiment in group]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ConfigError(f"experiment {min(repeated)} is given twice; name it once")
    if "first" not in experiments:
        return
    for experiment in experiments["first"]:
        if experiment.needs_soft_labels:
            raise ConfigError(
                f"{experiment.name} learns from soft labels, which the first stage does not have; "
                "give it to --second"
            )
    teachers = [experiment.name for experiment in experiments["first"]]
    for experiment in experiments.get("second", ()):
        missing = [teacher for teacher in experiment.teachers if teacher not in teachers]
        if missing:
            raise ConfigError(
                f"{experiment.name} wants teacher {missing[0]}; add it to --first "
                f"(now {', '.join(teachers)}) or override it with --set teachers=[]"
            )


def _arguments(
    location: DataLocation,
    values: Mapping[str, Any],
    experiments: Mapping[str, Sequence[Experiment]],
) -> dict[str, Any]:
    arguments = {key: value for key, value in values.items() if key not in PART_OF}
    for key, value in values.items():
        if key in SOURCES:
            arguments[key] = location.source(key, value)
        elif key in FOLDERS:
            arguments |= location.output(key, value)
        elif key in EXPERIMENTS:
            arguments[key] = [experiment.to_json() for experiment in experiments[key]]
        elif key == "externals":
            arguments[key] = [_external(location, external) for external in value]
        elif key in ("gates", "min_auc"):
            from ranzcr.registry import gate_rules

            rules = gate_rules.load(values.get("gates"), min_auc=values.get("min_auc"))
            arguments["gates"] = rules.to_json()
    return arguments


def _external(location: DataLocation, external: str) -> str:
    name, equals, path = external.rpartition("=")
    return f"{name}{equals}{location.source('externals', path)}"


def _names(names: str | Sequence[str] | None) -> list[str]:
    """Return the names in "A,B" or in a list."""
    names = names.split(",") if isinstance(names, str) else names or []
    return [name for name in names if name]


def _load(names: Sequence[str], overrides: Sequence[str]) -> list[Experiment]:
    from ranzcr import config

    return [config.load(name, overrides) for name in names]
