"""What the gates ask for: YAML, typed and frozen, a typo is an error with the right name in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pydantic

from ranzcr import settings
from ranzcr.settings import Settings

DEFAULT = Path(__file__).with_name("gates.yaml")

_Limit = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, pydantic.Field(ge=0, le=1, allow_inf_nan=False)]


class Rule(Settings):
    """One gate: whether it is asked, and whether an exception may be made."""

    required: bool = True
    waivable: bool = True


class AtLeast(Rule):
    at_least: _Share


class Above(Rule):
    above: _Share


class AtMost(Rule):
    at_most: _Limit


class Rules(Settings):
    """All gates, in the order in which they are judged and shown. `gates.yaml` has their units."""

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
        return settings.validate(cls, json.loads(text), "gates") if text else load()


def load(file: Path | None = None, *, min_auc: float | None = None) -> Rules:
    """The packaged gates, with a file's changes over them.

    Args:
        file: YAML that names only what it changes.
        min_auc: in place of cv.at_least.

    Raises ConfigError for a gate, a setting or a value that is not known.
    """
    content = settings.read(DEFAULT)
    if file is not None:
        content = settings.merged(content, settings.read(file))
    if min_auc is not None:
        content = settings.merged(content, {"cv": {"at_least": min_auc}})
    return settings.validate(Rules, content, str(file or "gates"))
