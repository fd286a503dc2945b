"""What was asked of a pipeline: checked, and in the form that its tasks take.

The same for a run on this machine and on a cluster; `pipelines.places` knows the difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.places import FOLDERS, Place, is_folder
from ranzcr.config import Experiment
from ranzcr.errors import ConfigError, nearest

OPTIONS = {  # parameter of a pipeline -> the command line's option for it
    "source": "--data",
    "first": "--first",
    "second": "--second",
    "dataset": "--dataset",
    "soft_labels": "--soft-labels",
    "images": "--images",
    "version": "--version",
    "why": "--why",
    "folds": "--folds",
    "seed": "--seed",
    "image_size": "--size",
    "externals": "--external",
    "blend_method": "--blend",
    "gates": "--gates",
    "skip_bad": "--skip-bad",
}
_MIN_AUC = "min_auc"  # an option, and a part of the parameter `gates`
_EXPERIMENTS = ("first", "second")
_SOURCES = ("source", "images")

Declared = Mapping[str, Mapping[str, Any]]  # name -> KFP's parameterType, defaultValue, isOptional

_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {  # KFP's parameter types
    "STRING": ("text", str),
    "NUMBER_INTEGER": ("a whole number", int),
    "NUMBER_DOUBLE": ("a number", float),
    "BOOLEAN": ("true or false", lambda text: {"true": True, "false": False}[text.lower()]),
    "LIST": ("a JSON list", lambda text: _json(text, list)),
    "STRUCT": ("a JSON object", lambda text: _json(text, dict)),
}


def declared(graph: Any) -> Declared:
    """The parameters of a pipeline that is not compiled yet."""
    from google.protobuf.json_format import MessageToDict

    inputs = graph.pipeline_spec.root.input_definitions
    return MessageToDict(inputs).get("parameters", {})


def check(
    name: str,
    parameters: Declared,
    place: Place,
    overrides: Sequence[str],
    given: Mapping[str, Any],
    texts: Sequence[str] = (),
) -> dict[str, Any]:
    """The arguments of a run, but for what its place settles.

    Args:
        name: of the pipeline, for what is told.
        given: parameters by name, and `min_auc`; None, "", [] and False leave one to its default.
        texts: more of them, KEY=VALUE, read as the pipeline declares them.

    Raises ConfigError or DataError for the first thing that does not fit.
    """
    given = {key: value for key, value in given.items() if _is_given(value)}
    known = _open(parameters, place)
    _check_options(name, known, given)
    others = _others(name, known, given, texts)
    _check_complete(name, known, {*given, *others})
    experiments = {key: _resolved(given[key], overrides) for key in _EXPERIMENTS if key in given}
    _check_experiments(experiments)
    arguments = {**_arguments(place, given, experiments), **others}
    everyone = [experiment for group in experiments.values() for experiment in group]
    if "image_size" in known and everyone:
        arguments.setdefault("image_size", max(map(largest_size, everyone)))
    return arguments


def trainings(parameters: Declared, arguments: Mapping[str, Any]) -> int:
    """Experiments x folds of a run on this machine."""
    return sum(len(arguments.get(key, ())) for key in _EXPERIMENTS) * _folds(parameters, arguments)


def folders(arguments: Mapping[str, Any]) -> tuple[Path, ...]:
    """What the tasks of a run on this machine read."""
    found = [arguments[key] for key in (*_SOURCES, *FOLDERS) if key in arguments]
    found += [external.rpartition("=")[2] for external in arguments.get("externals", ())]
    return tuple(Path(folder) for folder in found if is_folder(folder))


def largest_size(experiment: Experiment) -> int:
    """Pixels per side that the image cache needs for an experiment's largest phase."""
    sizes = [phase.image_size or 0 for phase in experiment.training.recipe]
    return max(experiment.data.image_size, *sizes)


def _open(parameters: Declared, place: Place) -> Declared:
    """Those that the user may give, in the order of the options."""
    order = [*OPTIONS, *sorted(parameters)]
    left = [key for key in parameters if key not in place.settled]
    return {key: parameters[key] for key in sorted(left, key=order.index)}


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", [])  # 0 is a value


def _option(parameter: str) -> str:
    if parameter == _MIN_AUC:
        return "--min-auc"
    return OPTIONS.get(parameter, f"--param {parameter}=...")


def _check_options(name: str, known: Declared, given: Mapping[str, Any]) -> None:
    """Refuse an option that the pipeline does not take."""
    takes = {*known, _MIN_AUC} if "gates" in known else set(known)
    for key in given:
        if key not in takes:
            options = ", ".join(map(_option, known)) or "none"
            raise ConfigError(f"pipeline {name} has no {_option(key)}; it takes {options}")


def _others(
    name: str, known: Declared, given: Mapping[str, Any], texts: Sequence[str]
) -> dict[str, Any]:
    """The parameters of KEY=VALUE."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--param {text}: write it as KEY=VALUE")
        if key not in known:
            raise ConfigError(f"pipeline {name} has no parameter {key!r}; {nearest(key, known)}")
        if key in given or key in found:
            raise ConfigError(f"--param {text}: {key} is given twice; give it once")
        found[key] = _read(key, value, known[key]["parameterType"])
    return found


def _read(key: str, text: str, kind: str) -> Any:
    what, reader = _READERS[kind]
    try:
        return reader(text)
    except (ValueError, LookupError):
        raise ConfigError(f"--param {key}={text}: not {what}") from None


def _json(text: str, kind: type) -> Any:
    value = json.loads(text)
    if not isinstance(value, kind):
        raise ValueError(text)
    return value


def _check_complete(name: str, known: Declared, given: set[str]) -> None:
    """Tell what the pipeline lacks."""
    for key, each in known.items():
        if key in given or each.get("isOptional") or "defaultValue" in each:
            continue
        if key in _EXPERIMENTS:
            from ranzcr import config

            names = ", ".join(config.names())
            raise ConfigError(f"{OPTIONS[key]} names no experiment; known: {names}")
        raise ConfigError(f"pipeline {name} needs {_option(key)}; give it")


def _check_experiments(experiments: Mapping[str, Sequence[Experiment]]) -> None:
    """Raise ConfigError where an experiment is in the wrong stage, twice, or lacks its teacher."""
    names = [experiment.name for group in experiments.values() for experiment in group]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ConfigError(f"experiment {min(repeated)} is given twice; name it once")
    if "first" not in experiments:
        return
    for experiment in experiments["first"]:
        if experiment.needs_soft_labels:
            raise ConfigError(
                f"{experiment.name} learns from soft labels, which the first stage has not; "
                "give it to --second"
            )
    taught = [experiment.name for experiment in experiments["first"]]
    for experiment in experiments.get("second", ()):
        missing = [teacher for teacher in experiment.teachers if teacher not in taught]
        if missing:
            raise ConfigError(
                f"{experiment.name} wants teacher {missing[0]}; add it to --first "
                f"(now {', '.join(taught)}) or override it with --set teachers=[]"
            )


def _arguments(
    place: Place, given: Mapping[str, Any], experiments: Mapping[str, Sequence[Experiment]]
) -> dict[str, Any]:
    arguments = {key: value for key, value in given.items() if key != _MIN_AUC}
    for key, group in experiments.items():
        arguments[key] = [experiment.to_json() for experiment in group]
    for key in _SOURCES:
        if key in given:
            arguments[key] = place.source(OPTIONS[key], given[key])
    for key in FOLDERS:
        if key in given:
            arguments |= place.made(OPTIONS[key], key, given[key])
    if "externals" in given:
        arguments["externals"] = [_external(place, external) for external in given["externals"]]
    if "gates" in given or _MIN_AUC in given:
        arguments["gates"] = _rules(given.get("gates"), given.get(_MIN_AUC))
    return arguments


def _external(place: Place, given: str) -> str:
    name, equals, path = given.rpartition("=")
    return f"{name}{equals}{place.source(OPTIONS['externals'], path)}"


def _folds(parameters: Declared, arguments: Mapping[str, Any]) -> int:
    if "dataset" in arguments:
        from ranzcr.data.dataset import read_description

        return read_description(Path(arguments["dataset"]))["folds"]
    default = parameters["folds"]["defaultValue"] if "folds" in parameters else 0
    return int(arguments.get("folds", default))


def _resolved(names: Sequence[str], overrides: Sequence[str]) -> list[Experiment]:
    from ranzcr import config

    return [config.load(name, overrides) for name in names]


def _rules(gates: Path | None, min_auc: float | None) -> str:
    from ranzcr.registry import gate_rules

    return gate_rules.load(gates, min_auc=min_auc).to_json()
