"""What a run of a package is given, checked against what the pipeline declares."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.client.package import Package
from pipelines.request import check_experiments, largest_size
from ranzcr import config
from ranzcr.errors import ConfigError, nearest

_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {  # KFP's parameter types
    "STRING": ("text", str),
    "NUMBER_INTEGER": ("a whole number", int),
    "NUMBER_DOUBLE": ("a number", float),
    "BOOLEAN": ("true or false", lambda text: {"true": True, "false": False}[text.lower()]),
    "LIST": ("a JSON list", lambda text: _json(text, list)),
    "STRUCT": ("a JSON object", lambda text: _json(text, dict)),
}


def arguments(
    package: Package,
    source: str | None,
    first: str,
    second: str,
    overrides: Sequence[str],
    others: Sequence[str],
) -> dict[str, Any]:
    """The parameters of a run.

    Args:
        source: of the data, as the cluster sees it.
        first, second: names of experiments, A,B; resolved here with the overrides KEY=VALUE.
        others: any other parameter, KEY=VALUE.

    Raises ConfigError for a parameter that is unknown, missing or of another type, and for
    experiments that do not go together.
    """
    experiments = {
        stage: [config.load(name, overrides) for name in names.split(",")]
        for stage, names in (("first", first), ("second", second))
        if names
    }
    check_experiments(experiments)
    given: dict[str, Any] = {
        **({"source": source} if source else {}),
        **{stage: [one.to_json() for one in every] for stage, every in experiments.items()},
        **_pairs(others),
    }
    everyone = [one for every in experiments.values() for one in every]
    if "image_size" in package.parameters and everyone:
        given.setdefault("image_size", max(map(largest_size, everyone)))
    return _checked(package, given)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise ConfigError(f"--param {text}: write it as KEY=VALUE")
    split = (text.partition("=") for text in texts)
    return {key: value for key, _, value in split}


def _checked(package: Package, given: Mapping[str, Any]) -> dict[str, Any]:
    known = package.parameters
    for name in given:
        if name not in known:
            raise ConfigError(f"{package.name} has no parameter {name!r}; {nearest(name, known)}")
    for name, declared in known.items():
        if name not in given and not declared.get("isOptional") and "defaultValue" not in declared:
            raise ConfigError(f"{package.name} needs {name}; give {_option(name)}")
    return {name: _read(name, value, known[name]) for name, value in given.items()}


def _option(name: str) -> str:
    options = {"source": "--data", "first": "--first", "second": "--second"}
    return options.get(name, f"--param {name}=...")


def _read(name: str, value: Any, declared: Mapping[str, Any]) -> Any:
    if not isinstance(value, str):
        return value
    what, reader = _READERS[declared["parameterType"]]
    try:
        return reader(value)
    except (ValueError, LookupError):
        raise ConfigError(f"parameter {name}={value}: not {what}") from None


def _json(text: str, kind: type) -> Any:
    value = json.loads(text)
    if not isinstance(value, kind):
        raise ValueError(text)
    return value
