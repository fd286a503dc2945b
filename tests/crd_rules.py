"""Checks the CEL rules of a definition (`x-kubernetes-validations`) as at an object's creation.

Rules that compare with `oldSelf` are for updates and are left out. A rule that cannot be evaluated
here counts as broken, so no rule is skipped silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import celpy

Schema = Mapping[str, Any]

_CEL = celpy.Environment()


def breaches(value: Any, schema: Schema) -> Iterator[str]:
    """Yield the path and the message of each rule that a value of the right shape breaks."""
    yield from _breaches(_with_defaults(value, schema), schema, "$")


def _breaches(value: Any, schema: Schema, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", []):
        if not re.search(r"\boldSelf\b", rule["rule"]):
            message = rule.get("message", rule["rule"])
            yield from (f"{path}: {message}{why}" for why in _evaluate(rule["rule"], value))
    for key, inner, below in _children(value, schema):
        yield from _breaches(inner, below, f"{path}.{key}")


def _evaluate(rule: str, value: Any) -> Iterator[str]:
    """Yield a reason if the value breaks the rule, or if the rule cannot be evaluated."""
    try:
        if not _program(rule).evaluate({"self": celpy.json_to_cel(value)}):
            yield ""
    except (celpy.CELParseError, celpy.CELEvalError) as error:
        yield f" ({rule} cannot be run: {str(error.args[0]).partition(' (in activation')[0]})"


@cache
def _program(rule: str) -> celpy.Runner:
    return _CEL.program(_CEL.compile(rule), functions={"find": _find})


def _find(text: str, pattern: str) -> celpy.celtypes.StringType:
    """Return the first match, or an empty string: Kubernetes' addition to CEL."""
    match = re.search(pattern, text)
    return celpy.celtypes.StringType(match.group() if match else "")


def _with_defaults(value: Any, schema: Schema) -> Any:
    """Fill in the definition's defaults, as the API server does before it evaluates rules."""
    if isinstance(value, list):
        return [_with_defaults(inner, below) for _, inner, below in _children(value, schema)]
    if not isinstance(value, dict):
        return value
    fields = schema.get("properties", {}).items()
    full = {key: field["default"] for key, field in fields if "default" in field} | value
    return full | {
        key: _with_defaults(inner, below) for key, inner, below in _children(full, schema)
    }


def _children(value: Any, schema: Schema) -> Iterator[tuple[str | int, Any, Schema]]:
    """Yield the (key, value, schema) of each value that the schema describes."""
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield number, inner, schema.get("items", {})
    elif isinstance(value, dict):
        fields, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, inner in value.items():
            below = fields.get(key, others)
            if isinstance(below, dict):
                yield key, inner, below
