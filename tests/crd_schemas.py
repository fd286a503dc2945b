"""Validates custom resources against their definitions, more strictly than the API server.

A field that the definition does not name is an error; the server would drop it. Formats and the
uniqueness of keys in lists are not checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import crd_rules
import jsonschema
import yaml

_KEYWORDS = {
    *("type", "enum", "pattern", "required", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "minProperties", "maxProperties"),
}


class Definition:
    """One version of a kind; `schema` is its structural schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        metadata = {"metadata": {"type": "object"}}  # Kubernetes' own
        self.schema = {**schema, "properties": schema["properties"] | metadata}

    def problems(self, thing: Mapping[str, Any]) -> list[str]:
        """Return the errors of an object; its rules are checked only if its shape is right."""
        errors = self._validator.iter_errors(thing)
        messages = [f"{error.json_path}: {error.message}" for error in errors]
        return messages or list(crd_rules.breaches(thing, self.schema))

    @cached_property
    def _validator(self) -> jsonschema.Draft7Validator:
        return jsonschema.Draft7Validator(_strict(self.schema))


def load(folder: Path) -> dict[tuple[str, str], Definition]:
    """Return the definitions in the folder's YAML files by apiVersion and kind."""
    return dict(_definitions(folder))


def _definitions(folder: Path) -> Iterator[tuple[tuple[str, str], Definition]]:
    for file in folder.glob("*.yaml"):
        for definition in yaml.load_all(file.read_text(), yaml.CSafeLoader):
            spec = definition["spec"]
            for version in spec["versions"]:
                key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                yield key, Definition(version["schema"]["openAPIV3Schema"])


def _strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a structural schema; fields without a name in it are errors."""
    result = {key: value for key, value in schema.items() if key in _KEYWORDS}
    if "properties" in schema:
        result["properties"] = {key: _strict(inner) for key, inner in schema["properties"].items()}
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
        result["additionalProperties"] = bool(open_ended)
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _strict(schema["additionalProperties"])
    for key in ("items", "not"):
        if key in schema:
            result[key] = _strict(schema[key])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            # Branches narrow fields that the schema names, so other fields are no error in them.
            result[key] = [
                {**_strict(branch), "additionalProperties": True} for branch in schema[key]
            ]
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") and "type" in result:
        result["type"] = [result["type"], "null"]
    return result
