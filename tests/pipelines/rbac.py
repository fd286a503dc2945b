"""What the rules of a Role allow, as Kubernetes decides it from the path of a GET."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Anyone who is logged in may ask what there is: the role system:discovery.
_DISCOVERY = re.compile(r"/version/?|/apis/?|/apis/[^/]+/[^/]+/?")
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v\w+(?:/namespaces/(?P<namespace>[^/]+))?"
    r"(?:/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<part>[^/]+))?)?)?"
)


@dataclass(frozen=True)
class Look:
    """One GET of objects."""

    group: str
    resource: str  # with its part: pods/log
    namespace: str | None
    name: str | None

    @property
    def verb(self) -> str:
        return "get" if self.name else "list"


def look(path: str) -> Look | None:
    """None for discovery."""
    if _DISCOVERY.fullmatch(path):
        return None
    found = _PATH.fullmatch(path)
    assert found, path
    group, namespace, plural, name, part = found.groups()
    if plural is None:  # a namespace itself, which its own Roles can give
        return Look("", "namespaces", namespace, namespace)
    return Look(group or "", f"{plural}/{part}" if part else plural, namespace, name)


def allowed(path: str, rules: Sequence[dict[str, Any]], namespace: str) -> bool:
    """Whether a Role of `namespace` with these rules, and nothing else, allows a GET."""
    asked = look(path)
    if asked is None:
        return True
    return asked.namespace == namespace and any(_covers(rule, asked) for rule in rules)


def _covers(rule: dict[str, Any], asked: Look) -> bool:
    names = rule.get("resourceNames")
    return (
        asked.group in rule["apiGroups"]
        and asked.resource in rule["resources"]
        and asked.verb in rule["verbs"]
        and (not names or asked.name in names)
    )
