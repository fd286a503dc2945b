"""The HTTP API by which MLflow's basic-auth keeps its users, roles and grants.

MLflow's own client of it wants the server's packages installed; requests are enough.
"""

from __future__ import annotations

import copy
from typing import Any

import requests
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import MlflowHostCreds, http_request, verify_rest_response

from ranzcr.tracking import server

_V2, _V3 = "/api/2.0/mlflow", "/api/3.0/mlflow"
_WORKSPACE = "default"  # where MLflow keeps all grants unless workspaces are on

Json = dict[str, Any]


def current_user(uri: str) -> Json | None:
    """{"username", "is_admin"} of who we are, None where the server has no auth."""
    endpoint = f"{_V2}/users/current"
    answer = _ask(get_default_host_creds(uri), endpoint, "GET")
    if answer.status_code != 404:
        return verify_rest_response(answer, endpoint).json()["user"]
    # Before MLflow 3.13 there was auth, but not this endpoint.
    name = server.user_name(uri)
    if name is None:
        return None
    endpoint = f"{_V2}/users/get"
    answer = _ask(get_default_host_creds(uri), endpoint, "GET", params={"username": name})
    return (
        None if answer.status_code == 404 else verify_rest_response(answer, endpoint).json()["user"]
    )


class Accounts:
    """What an admin may read and change. Raises MLflow's errors."""

    def __init__(self, uri: str) -> None:
        self._creds = get_default_host_creds(uri)

    def users(self) -> list[Json]:
        """All users: username, is_admin and their roles, as `roles` has them.

        A grant that no role gave is in a role of the user's own, named `__user_<id>__`.
        """
        return self._get(f"{_V2}/users/list")["users"]

    def accepts(self, name: str, password: str) -> bool:
        """Whether this is the user's password."""
        theirs = copy.copy(self._creds)
        theirs.username, theirs.password = name, password
        endpoint = f"{_V2}/users/current"
        answer = _ask(theirs, endpoint, "GET")
        if answer.status_code == 401:
            return False
        verify_rest_response(answer, endpoint)
        return True

    def create_user(self, name: str, password: str) -> None:
        self._send("POST", f"{_V2}/users/create", username=name, password=password)

    def set_password(self, name: str, password: str) -> None:
        self._send("PATCH", f"{_V2}/users/update-password", username=name, password=password)

    def set_admin(self, name: str, is_admin: bool) -> None:
        self._send("PATCH", f"{_V2}/users/update-admin", username=name, is_admin=is_admin)

    def roles(self) -> list[Json]:
        """All roles: id, name, permissions (id, resource_type, resource_pattern, permission)."""
        return self._get(f"{_V3}/roles/list", workspace=_WORKSPACE)["roles"]

    def create_role(self, name: str, description: str) -> Json:
        told = {"name": name, "workspace": _WORKSPACE, "description": description}
        return self._send("POST", f"{_V3}/roles/create", **told)["role"]

    def permit(self, role_id: int, kind: str, name: str, permission: str) -> None:
        """Add a grant to a role: `permission` on the resource `name` of type `kind`."""
        grant = {"resource_type": kind, "resource_pattern": name, "permission": permission}
        self._send("POST", f"{_V3}/roles/permissions/add", role_id=role_id, **grant)

    def forbid(self, grant_id: int) -> None:
        """Remove a grant from its role."""
        self._send("DELETE", f"{_V3}/roles/permissions/remove", role_permission_id=grant_id)

    def assign(self, name: str, role_id: int) -> None:
        self._send("POST", f"{_V3}/roles/assign", username=name, role_id=role_id)

    def unassign(self, name: str, role_id: int) -> None:
        self._send("DELETE", f"{_V3}/roles/unassign", username=name, role_id=role_id)

    def revoke(self, name: str, kind: str, resource: str) -> None:
        """Take a grant from a user that no role gave, such as that of who made the resource."""
        told = {"username": name, "resource_type": kind, "resource_id": resource}
        self._send("POST", f"{_V3}/users/permissions/revoke", **told)

    def permission(self, name: str, kind: str, resource: str) -> str:
        """What a user may do with a resource, all told: roles, grants and the server's default."""
        told = {"username": name, "resource_type": kind, "resource_id": resource}
        return self._get(f"{_V3}/users/permissions/get", **told)["permission"]

    def _get(self, endpoint: str, **params: str) -> Json:
        answer = _ask(self._creds, endpoint, "GET", params=params)
        return verify_rest_response(answer, endpoint).json()

    def _send(self, method: str, endpoint: str, **body: object) -> Json:
        answer = _ask(self._creds, endpoint, method, json=body)
        return verify_rest_response(answer, endpoint).json()


def _ask(creds: MlflowHostCreds, endpoint: str, method: str, **told: Any) -> requests.Response:
    return http_request(creds, endpoint, method, raise_on_status=False, **told)
