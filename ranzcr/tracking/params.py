"""An experiment's settings as MLflow holds them: params `cfg.<dotted.key>` with text values.

Needs no mlflow, so that a local journal can be read without importing it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from ranzcr.config import Experiment
from ranzcr.tracking.names import Param


def of_experiment(experiment: Experiment) -> dict[str, str]:
    """Return the params of an experiment's runs, without `about` and `parent`."""
    settings = experiment.model_dump(mode="json", exclude={"about", "parent"})
    flat = flatten(settings, Param.SETTINGS.rstrip("."))
    return {
        **{name: text(value) for name, value in flat.items()},
        Param.CONFIG_HASH: experiment.config_hash,
    }


def flatten(settings: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return nested settings as {"prefix.key.key": value}; phases are keyed by their names."""
    pairs = (_flat(f"{prefix}.{key}", value) for key, value in settings.items())
    return dict(itertools.chain.from_iterable(pairs))


def _flat(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return list(flatten(value, key).items())
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        by_name = {part["name"]: {k: v for k, v in part.items() if k != "name"} for part in value}
        return list(flatten(by_name, key).items())
    return [(key, value)]


def text(value: Any) -> str:
    """Return a setting as people write it: words bare, lists with commas, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return ",".join(map(text, value))
    return json.dumps(value)
