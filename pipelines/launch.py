"""What `ranzcr pipeline run` and `compile` do: check what was asked for, then hand it over."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.code import code_version
from ranzcr.config import Experiment
from ranzcr.errors import ConfigError, nearest

PIPELINES = ("competition",)


def run(
    name: str,
    *,
    source: str,
    first: Sequence[str],
    second: Sequence[str],
    overrides: Sequence[str],
    image_size: int | None,
    folds: int,
    externals: Sequence[str],
    parallel: int | None,
    **settings: Any,
) -> None:
    """Run a pipeline on this machine, through kfp.local, with what finished before from the cache.

    Experiments, data and MLflow are looked at before the first task starts. `settings` are the
    pipeline's other parameters.

    Raises ConfigError, DataError or TrackingError before it starts; PipelineError where a stage
    fails.
    """
    _known(name)
    experiments = [
        _resolved(group, overrides, stage)
        for group, stage in ((first, "--first"), (second, "--second"))
    ]
    _check_names(experiments)
    _check_source(source)
    for external in externals:
        _check_source(external.partition("=")[2] or external)

    from ranzcr.home import home
    from ranzcr.tracking import server

    journal = server.identity()  # MLflow must answer before anything starts
    from pipelines import local

    everyone = [*experiments[0], *experiments[1]]
    code = code_version()
    os.environ["RANZCR_CODE"] = code  # for the journal: tasks inherit it
    local.run(
        pipeline(name),
        {
            "source": _absolute(source),
            "first": [experiment.to_json() for experiment in experiments[0]],
            "second": [experiment.to_json() for experiment in experiments[1]],
            "externals": [_absolute(external) for external in externals],
            "code": code,
            "image_size": image_size or max(map(largest_size, everyone)),
            "folds": folds,
            **settings,
        },
        # Results that are in another journal, or in one that was deleted, must be made again.
        root=home() / "pipelines" / journal,
        parallel=parallel or (1 if shutil.which("nvidia-smi") else 2),
        tasks=2 * folds * len(everyone) + 12,
    )


def compile_to(name: str, output: Path, image: str | None) -> None:
    """Write the pipeline's KFP YAML to `output`; `image` is what its components run in."""
    _known(name)
    if image:
        os.environ["RANZCR_IMAGE"] = image  # read where components are made
    from kfp import compiler

    from ranzcr.files import replacing

    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{output}: a compiled pipeline is YAML; name it with .yaml")
    with replacing(output) as beside:
        compiler.Compiler().compile(pipeline(name), str(beside))


def pipeline(name: str) -> Any:
    """The KFP pipeline of that name: pipelines/<name>.py holds a function of the same name."""
    return getattr(importlib.import_module(f"pipelines.{name}"), name)


def largest_size(experiment: Experiment) -> int:
    """Pixels per side that the image cache needs for an experiment's largest phase."""
    sizes = [phase.image_size or 0 for phase in experiment.training.recipe]
    return max(experiment.data.image_size, *sizes)


def _known(name: str) -> None:
    if name not in PIPELINES:
        raise ConfigError(f"no pipeline {name!r}; {nearest(name, PIPELINES)}")


def _resolved(names: Sequence[str], overrides: Sequence[str], option: str) -> list[Experiment]:
    from ranzcr import config

    if not names:
        raise ConfigError(f"{option} names no experiment; known: {', '.join(config.names())}")
    return [config.load(name, overrides) for name in names]


def _check_names(experiments: Sequence[Sequence[Experiment]]) -> None:
    first, second = experiments
    names = [experiment.name for experiment in (*first, *second)]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ConfigError(f"experiment {min(repeated)} is given twice; name it once")
    for experiment in first:
        if experiment.needs_soft_labels:
            raise ConfigError(
                f"{experiment.name} learns from soft labels, which the first stage has not; "
                "give it to --second"
            )
    taught = [experiment.name for experiment in first]
    for experiment in second:
        missing = [teacher for teacher in experiment.teachers if teacher not in taught]
        if missing:
            raise ConfigError(
                f"{experiment.name} wants teacher {missing[0]}; add it to --first "
                f"(now {', '.join(taught)}) or override it with --set teachers=[]"
            )


def _check_source(source: str) -> None:
    if "://" not in source and not source.startswith("kaggle:") and not Path(source).is_dir():
        from ranzcr.errors import DataError

        raise DataError(f"{source}: no such folder; make one with ranzcr data phantom {source}")


def _absolute(source: str) -> str:
    """Tasks may run elsewhere: a folder is given by its whole path."""
    if "://" in source or source.startswith("kaggle:"):
        return source
    name, equals, path = source.rpartition("=")
    return f"{name}{equals}{Path(path).absolute()}"
