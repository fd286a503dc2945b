"""Rule against secrets in a compiled pipeline, which many users may read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipelines.lint.tree import Pipeline, Problem

_NAMES = re.compile(
    r"(?i)(^|_)(password|passwd|secret|token|api_?key|access_?key(_id)?|private_?key|kaggle_key"
    r"|credentials?)$"
)
_VALUES = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\bgh[pousr]_\w{30,}|\bglpat-[\w-]{20,}|\bhf_\w{30,}|\bxox[abprs]-[\w-]{10,}"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\."  # a signed token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\w://[^/\s:@]+:[^/\s:@]+@"  # user:password@host
)
_ADVICE = "name a secret of the profile, whose keys become variables"


def secret_in_clear(pipeline: Pipeline) -> Iterator[Problem]:
    """Anyone who may read the pipeline or its runs could use it."""
    for where, name, value in _values(pipeline):
        if _is_secret(name, value):
            yield where, f"{name} holds a secret in clear text; {_ADVICE}"


RULES = (secret_in_clear,)


def _values(pipeline: Pipeline) -> Iterator[tuple[str, str, Any]]:
    """Yield the place, the name and the value of everything with a value in the file."""
    for task in pipeline.pods:
        for variable in task.container.get("env", ()):
            yield task.path, variable["name"], variable.get("value", "")
        for name, declared in (
            task.component.get("inputDefinitions", {}).get("parameters", {}).items()
        ):
            yield task.path, name, declared.get("defaultValue")
    for task in pipeline.tasks:
        for name, value in task.constants.items():
            yield task.path, name, value
        yield task.path, "its items", task.iterator.get("items", {}).get("raw")
    for name, declared in pipeline.parameters.items():
        yield f"parameter {name}", name, declared.get("defaultValue")


def _is_secret(name: str, value: Any) -> bool:
    if value in (None, "") or isinstance(value, (bool, int, float)):
        return False
    text = str(value)
    # A placeholder is filled in on the cluster.
    return bool(_VALUES.search(text)) or (bool(_NAMES.search(name)) and "{{" not in text)
