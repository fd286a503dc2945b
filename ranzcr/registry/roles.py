"""Roles on an MLflow server with basic-auth: what each may do, and which one we have.

    viewer    reads the journal and the registry
    trainer   also logs runs and registers candidates
    approver  also writes the production model
    admin     MLflow's own admin: may do everything, and gives the roles

`role_setup` gives them to users through MLflow's AuthServiceClient. The three read requests here
use plain HTTP: that client has no call for the current user or the list of users, and it needs the
server's packages (mlflow[auth]), which a machine that promotes or checks a server does not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.utils.rest_utils import verify_rest_response

from ranzcr.registry.candidates import CANDIDATES
from ranzcr.registry.ledger import PRODUCTION
from ranzcr.tracking import server
from ranzcr.tracking.place import EXPERIMENT, sqlite_file

ADMIN = "admin"
READ, EDIT = "READ", "EDIT"  # MLflow's permissions
GRANTS = {  # on the journal's experiment, the candidates model, the production model
    "viewer": (READ, READ, READ),
    "trainer": (EDIT, EDIT, READ),
    "approver": (EDIT, EDIT, EDIT),
}
ROLES = (*GRANTS, ADMIN)
EXPERIMENT_TYPE, MODEL_TYPE = "experiment", "registered_model"  # MLflow's types of resources
_WEAKEST_FIRST = ("DENY", "NO_PERMISSIONS", READ, "USE", EDIT, "MANAGE")


class Resource(NamedTuple):
    """Something that permissions are given on, as MLflow names it."""

    type: str
    id: str  # of the experiment, or the model's name; "" for an experiment that does not exist yet


@dataclass(frozen=True)
class Account:
    """A user of the server."""

    name: str
    is_admin: bool


def user(client: MlflowClient) -> str | None:
    """Return the name that the server's basic-auth knows us by.

    None for a local journal and for a server without auth: nobody has proved who they are there.
    Raises TrackingError if the server does not answer or refuses us.
    """
    account = current(client.tracking_uri)
    return account.name if account else None


def current(uri: str) -> Account | None:
    """Return our account on the server; None and errors as for `user`."""
    if sqlite_file(uri):
        return None
    with server.translated(uri), server.hurried():
        answer = get(uri, "2.0/mlflow/users/current")
        name = server.user_name(uri)
        if answer is None and name is not None:  # MLflow before 3.13 has auth without this call
            answer = get(uri, "2.0/mlflow/users/get", username=name)
    return Account(answer["user"]["username"], answer["user"]["is_admin"]) if answer else None


def own_role(client: MlflowClient) -> str | None:
    """Return the strongest role whose permissions we have on a server with auth, None for none."""
    uri = client.tracking_uri
    account = current(uri)
    assert account is not None
    if account.is_admin:
        return ADMIN
    with server.translated(uri), server.hurried():
        permissions = [_permission(uri, account.name, resource) for resource in resources(client)]
    for role, needed in reversed(GRANTS.items()):
        if all(map(covers, permissions, needed)):
            return role
    return None


def resources(client: MlflowClient) -> tuple[Resource, Resource, Resource]:
    """Return the journal's experiment, the candidates model and the production model."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = experiment.experiment_id if experiment else ""
    return (
        Resource(EXPERIMENT_TYPE, experiment_id),
        Resource(MODEL_TYPE, CANDIDATES),
        Resource(MODEL_TYPE, PRODUCTION),
    )


def covers(permission: str, needed: str) -> bool:
    """Return whether a permission includes another one."""
    return _WEAKEST_FIRST.index(permission) >= _WEAKEST_FIRST.index(needed)


def get(uri: str, path: str, **params: str) -> dict[str, Any] | None:
    """Return the answer to a GET request below /api/, None if the server does not know the path."""
    endpoint = f"/api/{path}"
    answer = server.get(uri, endpoint, params=params)
    if answer.status_code == 404:
        return None
    content: dict[str, Any] = verify_rest_response(answer, endpoint).json()
    return content


def _permission(uri: str, name: str, resource: Resource) -> str:
    """Return what a user may do with a resource: by roles, grants and the server's default."""
    path = "3.0/mlflow/users/permissions/get"
    answer = get(uri, path, username=name, resource_type=resource.type, resource_id=resource.id)
    return str(answer["permission"]) if answer else "NO_PERMISSIONS"
