"""Decide as Kubernetes does, from the path of a GET, if the rules of a Role allow it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Everyone who is logged in may discover the API: the role system:discovery.
_DISCOVERY = re.compile(r"/version/?|/apis/?|/apis/[^/]+/[^/]+/?")
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v\w+(?:/namespaces/(?P<namespace>[^/]+))?"
    r"(?:/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<part>[^/]+))?)?)?"
)


@dataclass(frozen=True)
class ObjectRequest:
    """One GET of objects."""

    group: str
    resource: str  # with a subresource: pods/log
    namespace: str | None
    name: str | None

    @property
    def verb(self) -> str:
        return "get" if self.name else "list"


def object_request(path: str) -> ObjectRequest | None:
    """Parse the path of a GET; return None for discovery."""
    if _DISCOVERY.fullmatch(path):
        return None
    match = _PATH.fullmatch(path)
    assert match, path
    group, namespace, plural, name, part = match.groups()
    if plural is None:  # a namespace itself, which its Roles can allow
        return ObjectRequest("", "namespaces", namespace, namespace)
    return ObjectRequest(group or "", f"{plural}/{part}" if part else plural, namespace, name)


def allowed(path: str, rules: Sequence[dict[str, Any]], namespace: str) -> bool:
    """Return True if a Role of `namespace` with these rules alone allows a GET."""
    request = object_request(path)
    if request is None:
        return True
    return request.namespace == namespace and any(_covers(rule, request) for rule in rules)


def _covers(rule: dict[str, Any], request: ObjectRequest) -> bool:
    names = rule.get("resourceNames")
    return (
        request.group in rule["apiGroups"]
        and request.resource in rule["resources"]
        and request.verb in rule["verbs"]
        and (not names or request.name in names)
    )
