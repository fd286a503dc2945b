"""What was asked of a pipeline: checked, and in the form that its tasks take."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranzcr.config import Experiment
from ranzcr.errors import ConfigError, DataError

_OPTIONS = {  # parameter of a pipeline -> how the command line calls it, where it differs
    "source": "data",
    "image_size": "size",
    "externals": "external",
    "blend_method": "blend",
}
_EXPERIMENTS = ("first", "second")
_FOLDERS = {"dataset": "dataset_digest", "soft_labels": "soft_digest"}  # and what names the content
_SOURCES = ("source", "images")
_SETTLED = {"code", "devices", *_FOLDERS.values()}  # not by whoever asks


@dataclass(frozen=True)
class Request:
    """A run that can start.

    `arguments` lack what only the machine knows: the code's version.
    """

    arguments: dict[str, Any]
    trainings: int  # experiments x folds
    folders: tuple[Path, ...]  # that tasks read


def check(name: str, graph: Any, overrides: Sequence[str], given: Mapping[str, Any]) -> Request:
    """Look at all that was asked for.

    Args:
        graph: the pipeline of that name.
        given: its parameters, and `min_auc`; None, "", [] and False leave one to its default.

    Raises ConfigError or DataError for the first thing that does not fit.
    """
    given = {key: value for key, value in given.items() if _is_given(value)}
    known = dict(inspect.signature(graph.pipeline_func).parameters)
    _check_given(name, known, given)
    experiments = {key: _resolved(given[key], overrides) for key in _EXPERIMENTS if key in given}
    check_experiments(experiments)
    arguments = _arguments(given, experiments)
    everyone = [experiment for group in experiments.values() for experiment in group]
    if "image_size" in known:
        arguments.setdefault("image_size", max(map(largest_size, everyone)))
    folders = [arguments[key] for key in (*_SOURCES, *_FOLDERS) if key in arguments]
    folders += [external.rpartition("=")[2] for external in arguments.get("externals", ())]
    return Request(
        arguments,
        len(everyone) * _folds(known, arguments),
        tuple(Path(folder) for folder in folders if _is_folder(folder)),
    )


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", [])  # 0 is a value


def largest_size(experiment: Experiment) -> int:
    """Pixels per side that the image cache needs for an experiment's largest phase."""
    sizes = [phase.image_size or 0 for phase in experiment.training.recipe]
    return max(experiment.data.image_size, *sizes)


def _is_left_out(value: Any) -> bool:
    return value is None or value is False or value in ("", [])


def _option(parameter: str) -> str:
    return f"--{_OPTIONS.get(parameter, parameter).replace('_', '-')}"


def _check_given(
    name: str, parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]
) -> None:
    """Refuse what the pipeline does not take, and tell what it lacks."""
    known = {key: each for key, each in parameters.items() if key not in _SETTLED}
    takes = {*known, "min_auc"} if "gates" in known else set(known)
    for key in given:
        if key not in takes:
            options = ", ".join(map(_option, known))
            raise ConfigError(f"pipeline {name} has no {_option(key)}; it takes {options}")
    for key, each in known.items():
        if key in given or each.default is not each.empty:
            continue
        if key in _EXPERIMENTS:
            from ranzcr import config

            names = ", ".join(config.names())
            raise ConfigError(f"{_option(key)} names no experiment; known: {names}")
        raise ConfigError(f"pipeline {name} needs {_option(key)}; give it")


def _arguments(
    given: Mapping[str, Any], experiments: Mapping[str, Sequence[Experiment]]
) -> dict[str, Any]:
    arguments = {key: value for key, value in given.items() if key != "min_auc"}
    for key, group in experiments.items():
        arguments[key] = [experiment.to_json() for experiment in group]
    for key in _SOURCES:
        if key in given:
            arguments[key] = _source(given[key])
    for key, digest in _FOLDERS.items():
        if key in given:
            folder = Path(given[key]).resolve()
            arguments |= {key: str(folder), digest: _content(key, folder)}
    if "externals" in given:
        arguments["externals"] = [_external(external) for external in given["externals"]]
    if "gates" in given or "min_auc" in given:
        arguments["gates"] = _rules(given.get("gates"), given.get("min_auc"))
    return arguments


def _content(key: str, folder: Path) -> str:
    """The digest of a data set, or of soft labels."""
    if key == "dataset":
        from ranzcr.data.dataset import read_description

        return read_description(folder)["digest"]
    from ranzcr.soft_labels import SoftLabels

    return SoftLabels.open(folder).digest


def _folds(known: Mapping[str, inspect.Parameter], arguments: Mapping[str, Any]) -> int:
    if "dataset" in arguments:
        from ranzcr.data.dataset import read_description

        return read_description(Path(arguments["dataset"]))["folds"]
    return arguments.get("folds", known["folds"].default if "folds" in known else 0)


def _resolved(names: Sequence[str], overrides: Sequence[str]) -> list[Experiment]:
    from ranzcr import config

    return [config.load(name, overrides) for name in names]


def _rules(gates: Path | None, min_auc: float | None) -> str:
    from ranzcr.tracking.registry import gate_rules

    return gate_rules.load(gates, min_auc=min_auc).to_json()


def check_experiments(experiments: Mapping[str, Sequence[Experiment]]) -> None:
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


def _source(source: str) -> str:
    """The same; a folder by its real path, since tasks may run elsewhere."""
    if not _is_folder(source):
        return source
    if not Path(source).is_dir():
        raise DataError(f"{source}: no such folder; make one with ranzcr data phantom {source}")
    return str(Path(source).resolve())


def _external(given: str) -> str:
    name, equals, path = given.rpartition("=")
    return f"{name}{equals}{_source(path)}"


def _is_folder(source: str) -> bool:
    return "://" not in source and not source.startswith("kaggle:")
