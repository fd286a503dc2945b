"""Settings of the gates: gates.yaml, with the changes of a user's file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pydantic

from ranzcr import settings
from ranzcr.errors import ConfigError, nearest
from ranzcr.extensions import GATES

DEFAULT = Path(__file__).with_name("gates.yaml")

_Limit = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, pydantic.Field(ge=0, le=1, allow_inf_nan=False)]


class Rule(settings.Settings):
    """The settings of one gate: `gates.yaml` shows which limit it has, and its unit."""

    required: bool = True
    waivable: bool = True
    at_least: _Share | None = None
    above: _Share | None = None
    at_most: _Limit | None = None

    @property
    def limit(self) -> float:
        """The one limit that is set. Raises ConfigError if there is none, or more than one."""
        limits = [x for x in (self.at_least, self.above, self.at_most) if x is not None]
        if len(limits) != 1:
            raise ConfigError(
                f"a gate has {len(limits)} limits; set one of at_least, above and at_most"
            )
        return limits[0]


@dataclass(frozen=True)
class Rules:
    """The settings of all gates by name, in the order in which they are judged and shown."""

    gates: Mapping[str, Rule]

    def __getitem__(self, gate: str) -> Rule:
        return self.gates[gate]

    def to_json(self) -> str:
        gates = {name: rule.model_dump(exclude_none=True) for name, rule in self.gates.items()}
        return json.dumps(gates, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Rules:
        """Read what `to_json` wrote; the packaged settings for ""."""
        return _over_packaged(json.loads(text or "{}"), "gates")


def load(file: Path | None = None, *, min_auc: float | None = None) -> Rules:
    """Return the packaged settings with the changes of a file.

    Args:
        file: YAML that names only what it changes; a gate with dots in its name is a function of
            the user's own.
        min_auc: overrides cv.at_least.

    Raises ConfigError for an unknown gate or setting, and for an invalid value.
    """
    changes = settings.read(file) if file else {}
    if min_auc is not None:
        changes = settings.merged(changes, {"cv": {"at_least": min_auc}})
    return _over_packaged(changes, str(file) if file else "gates")


def _over_packaged(changes: Mapping[str, Any], where: str) -> Rules:
    packaged = settings.read(DEFAULT)
    for gate, change in changes.items():
        if not isinstance(change, Mapping):
            raise ConfigError(f"{where}: {gate}: expected settings as key: value; found {change!r}")
        known = ["required", "waivable", *packaged.get(gate, {})]
        if gate not in packaged:
            _check_name(gate, where)
            known = list(Rule.model_fields)
        for setting in change:
            if setting not in known:
                raise ConfigError(
                    f"{where}: gate {gate} has no setting {setting!r}; {nearest(setting, known)}"
                )
    return Rules(
        {
            gate: settings.validate(Rule, content, f"{where}: {gate}")
            for gate, content in settings.merged(packaged, changes).items()
        }
    )


def _check_name(gate: str, where: str) -> None:
    try:
        GATES.check(gate)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
