"""What is to be trained: one item per experiment and fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranzcr import config
from ranzcr.config import Experiment
from ranzcr.data.dataset import Dataset
from ranzcr.errors import ConfigError
from ranzcr.soft_labels import SoftLabels


def run(
    experiments: Sequence[str],
    dataset: Path,
    *,
    soft_labels: Path | None = None,
    overrides: Sequence[str] = (),
    code: str = "",
) -> list[dict[str, str]]:
    """The items of a ParallelFor, experiments outermost.

    Each item is all strings (KFP turns the numbers of a list into floats): experiment, config
    (resolved JSON), fold, dataset_digest, soft_digest ("" without soft labels), code. Together
    they decide a trained model, so they are what a cache key needs.

    Args:
        experiments: names, YAML files or resolved JSON.
        overrides: "dotted.key=value", applied to every one of them.
        code: version of the code.

    Raises ConfigError for an unknown experiment, one given twice, an image cache that is smaller
    than an experiment wants, and for soft labels that are missing or lack a teacher.
    """
    prepared = Dataset.open(dataset)
    taught = SoftLabels.open(soft_labels) if soft_labels else None
    items: list[dict[str, str]] = []
    planned: set[str] = set()
    for given in experiments:
        experiment = resolve(given, overrides)
        if experiment.name in planned:
            raise ConfigError(f"experiment {experiment.name} is given twice; name it once")
        planned.add(experiment.name)
        _check(experiment, taught)
        common = {
            "experiment": experiment.name,
            "config": experiment.to_json(),
            "dataset_digest": prepared.digest,
            "soft_digest": taught.digest if taught else "",
            "code": code,
        }
        items += [{**common, "fold": str(fold)} for fold in range(prepared.folds)]
    return items


def resolve(given: str, overrides: Sequence[str] = ()) -> Experiment:
    """An experiment from its name, its YAML file or its resolved JSON."""
    return Experiment.from_json(given) if given.startswith("{") else config.load(given, overrides)


def _check(experiment: Experiment, taught: SoftLabels | None) -> None:
    if not experiment.needs_soft_labels:
        return
    if taught is None:
        raise ConfigError(
            f"{experiment.name} learns from soft labels and none are given; run it in the second "
            "stage, or give --soft-labels"
        )
    missing = [teacher for teacher in experiment.teachers if teacher not in taught.teachers]
    if missing:
        raise ConfigError(
            f"{experiment.name} wants teacher {missing[0]}; the soft labels have "
            f"{', '.join(taught.teachers)}. Add it to the first stage, or change teachers"
        )
