"""Custom resources against the schemas of their definitions, as strict as the API server.

What is not looked at: the rules in CEL, and kinds without a definition at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

Schemas = Mapping[tuple[str, str], dict[str, Any]]

_KEPT = {
    *("type", "enum", "pattern", "required", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "minProperties", "maxProperties"),
}


def load(folder: Path) -> Schemas:
    """(apiVersion, kind) -> JSON schema, of each definition in the folder's YAML files."""
    return dict(_schemas(folder))


def problems(thing: Mapping[str, Any], schemas: Schemas) -> list[str]:
    """What the API server would refuse in an object; the kind must be in `schemas`."""
    validator = jsonschema.Draft7Validator(schemas[thing["apiVersion"], thing["kind"]])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(thing)]


def _schemas(folder: Path) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for file in folder.glob("*.yaml"):
        for definition in yaml.load_all(file.read_text(), yaml.CSafeLoader):
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = version["schema"]["openAPIV3Schema"]
                schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
                key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                yield key, _strict(schema)


def _strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of a structural schema, where a field that is not named is an error."""
    result = {key: value for key, value in schema.items() if key in _KEPT}
    if "properties" in schema:
        result["properties"] = {key: _strict(it) for key, it in schema["properties"].items()}
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields")
        result["additionalProperties"] = bool(open_ended)
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _strict(schema["additionalProperties"])
    for key in ("items", "not"):
        if key in schema:
            result[key] = _strict(schema[key])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            # Branches narrow a field that the schema names: they close nothing by themselves.
            result[key] = [
                {**_strict(branch), "additionalProperties": True} for branch in schema[key]
            ]
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") and "type" in result:
        result["type"] = [result["type"], "null"]
    return result
