"""What the gates ask for: YAML, typed and frozen, a typo is an error with the right name in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic

from ranzcr.errors import ConfigError, nearest
from ranzcr.yaml_files import read_settings

DEFAULT = Path(__file__).with_name("gates.yaml")

_Limit = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, pydantic.Field(ge=0, le=1, allow_inf_nan=False)]


class Rule(pydantic.BaseModel):
    """One gate: whether it is asked, and whether an exception may be made."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    required: bool = True
    waivable: bool = True


class AtLeast(Rule):
    at_least: _Share


class Above(Rule):
    above: _Share


class AtMost(Rule):
    at_most: _Limit


class Rules(pydantic.BaseModel):
    """All gates, in the order in which they are judged and shown. `gates.yaml` has their units."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    data: Rule
    audit: Rule
    cv: AtLeast
    champion: Above
    labels: AtMost
    calibration: AtMost
    parity: AtMost
    latency: AtMost
    lb: Rule

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Rules:
        """What `to_json` wrote; the packaged gates for ""."""
        return _validate(json.loads(text), "gates") if text else load()


def load(file: Path | None = None, *, min_auc: float | None = None) -> Rules:
    """The packaged gates, with a file's changes over them.

    Args:
        file: YAML that names only what it changes.
        min_auc: in place of cv.at_least.

    Raises ConfigError for a gate, a setting or a value that is not known.
    """
    merged = _read(DEFAULT)
    for gate, changes in (_read(file) if file else {}).items():
        known = merged.get(gate, {})
        merged[gate] = {**known, **changes} if isinstance(changes, Mapping) else changes
    if min_auc is not None:
        merged["cv"] = {**merged["cv"], "at_least": min_auc}
    return _validate(merged, str(file) if file else "gates")


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_settings(file)
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; the packaged gates are {DEFAULT}") from None


def _validate(content: Mapping[str, Any], where: str) -> Rules:
    try:
        return Rules.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        gate, *setting = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{where}: {_unknown(gate, setting)}") from None
        key = ".".join([gate, *setting])
        raise ConfigError(f"{where}: {key}: {first['msg']}; found {first['input']!r}") from None


def _unknown(gate: str, setting: list[str]) -> str:
    if not setting:
        return f"no gate {gate!r}; {nearest(gate, Rules.model_fields)}"
    known = list(getattr(load(), gate).model_dump())
    return f"gate {gate} has no setting {setting[0]!r}; {nearest(setting[0], known)}"
