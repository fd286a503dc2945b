"""The trainings of a stage: one item per experiment and fold."""

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
    """Return the items of a ParallelFor, experiments outermost.

    All values are strings, because KFP turns the numbers of a list into floats: experiment, config
    (resolved JSON), fold, dataset_digest, soft_digest ("" without soft labels), code. Together they
    decide a trained model, so they belong into its cache key.

    Args:
        experiments: names, YAML files or resolved JSON.
        overrides: "dotted.key=value", applied to every experiment.
        code: version of the code.

    Raises ConfigError for an experiment that is unknown or given twice, and for soft labels that
    are missing or lack a teacher.
    """
    prepared = Dataset.open(dataset, verify=False)
    soft = SoftLabels.open(soft_labels) if soft_labels else None
    items: list[dict[str, str]] = []
    planned: set[str] = set()
    for name_or_json in experiments:
        experiment = resolve(name_or_json, overrides)
        if experiment.name in planned:
            raise ConfigError(f"experiment {experiment.name} is given twice; name it once")
        planned.add(experiment.name)
        _check(experiment, soft)
        common = {
            "experiment": experiment.name,
            "config": experiment.to_json(),
            "dataset_digest": prepared.digest,
            "soft_digest": soft.digest if soft else "",
            "code": code,
        }
        items += [{**common, "fold": str(fold)} for fold in range(prepared.folds)]
    return items


def resolve(name_or_json: str, overrides: Sequence[str] = ()) -> Experiment:
    """Return an experiment from its name, its YAML file or its resolved JSON."""
    if name_or_json.startswith("{"):
        return Experiment.from_json(name_or_json)
    return config.load(name_or_json, overrides)


def _check(experiment: Experiment, soft: SoftLabels | None) -> None:
    if not experiment.needs_soft_labels:
        return
    if soft is None:
        raise ConfigError(
            f"{experiment.name} learns from soft labels, but none are given; run it in the second "
            "stage, or give --soft-labels"
        )
    missing = [teacher for teacher in experiment.teachers if teacher not in soft.teachers]
    if missing:
        raise ConfigError(
            f"{experiment.name} needs teacher {missing[0]}; the soft labels have "
            f"{', '.join(soft.teachers)}. Add it to the first stage, or change teachers"
        )
