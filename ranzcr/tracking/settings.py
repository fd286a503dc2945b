"""Settings as MLflow holds them: params `cfg.<dotted.key>`, each value as text.

Needs no mlflow: the journal is read without it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from ranzcr.config import Experiment

PREFIX = "cfg."  # keeps them apart from the inputs that KFP's plugin logs


def of_experiment(experiment: Experiment) -> dict[str, str]:
    """The params of an experiment's runs; `about` and `parent` decide nothing and stay out."""
    settings = experiment.model_dump(mode="json", exclude={"about", "parent"})
    flat = flatten(settings, PREFIX.rstrip("."))
    return {
        **{name: text(value) for name, value in flat.items()},
        "config_hash": experiment.config_hash,
    }


def flatten(settings: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Nested settings as {"prefix.key.key": value}; a list of parts is keyed by their names."""
    pairs = (_flat(f"{prefix}.{key}", value) for key, value in settings.items())
    return dict(itertools.chain.from_iterable(pairs))


def _flat(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return list(flatten(value, key).items())
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        named = {part["name"]: {k: v for k, v in part.items() if k != "name"} for part in value}
        return list(flatten(named, key).items())
    return [(key, value)]


def text(value: Any) -> str:
    """A setting as people write it: words bare, lists with commas, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return ",".join(map(text, value))
    return json.dumps(value)
