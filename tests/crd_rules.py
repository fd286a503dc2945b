"""The rules of a definition (`x-kubernetes-validations`, in CEL), asked as at an object's creation.

Those that compare with `oldSelf` are for updates. A rule that cannot be run here is a breach too,
so none passes unasked.
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
    """Each rule that a value of the right shape breaks: where, and the definition's own message."""
    yield from _breaches(_with_defaults(value, schema), schema, "$")


def _breaches(value: Any, schema: Schema, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", []):
        if not re.search(r"\boldSelf\b", rule["rule"]):
            said = rule.get("message", rule["rule"])
            yield from (f"{path}: {said}{why}" for why in _asked(rule["rule"], value))
    for key, inner, below in _children(value, schema):
        yield from _breaches(inner, below, f"{path}.{key}")


def _asked(rule: str, value: Any) -> Iterator[str]:
    """Nothing if the value keeps the rule, else why not; to the API server an error is a breach."""
    try:
        if not _program(rule).evaluate({"self": celpy.json_to_cel(value)}):
            yield ""
    except (celpy.CELParseError, celpy.CELEvalError) as error:
        yield f" ({rule} cannot be run: {str(error.args[0]).partition(' (in activation')[0]})"


@cache
def _program(rule: str) -> celpy.Runner:
    return _CEL.program(_CEL.compile(rule), functions={"find": _find})


def _find(text: str, pattern: str) -> celpy.celtypes.StringType:
    """Kubernetes' addition to CEL: the first match, or nothing."""
    match = re.search(pattern, text)
    return celpy.celtypes.StringType(match.group() if match else "")


def _with_defaults(value: Any, schema: Schema) -> Any:
    """The value as rules see it: the API server fills in the definition's defaults before."""
    if isinstance(value, list):
        return [_with_defaults(inner, below) for _, inner, below in _children(value, schema)]
    if not isinstance(value, dict):
        return value
    fields = schema.get("properties", {}).items()
    full = {key: field["default"] for key, field in fields if "default" in field} | value
    known = {key: _with_defaults(inner, below) for key, inner, below in _children(full, schema)}
    return full | known


def _children(value: Any, schema: Schema) -> Iterator[tuple[str | int, Any, Schema]]:
    """(key, value, schema) of what a schema describes in an object, a map or a list."""
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield number, inner, schema.get("items", {})
    elif isinstance(value, dict):
        fields, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, inner in value.items():
            below = fields.get(key, others)
            if isinstance(below, dict):
                yield key, inner, below
