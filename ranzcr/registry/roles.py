"""Who may do what on an MLflow server with basic-auth.

    viewer    reads the journal and the registry
    trainer   also logs runs and registers candidates
    approver  also writes the production model
    admin     MLflow's own admin: may do everything, and gives the roles

`role_setup` makes them on a server.
"""

from __future__ import annotations

from mlflow import MlflowClient

from ranzcr.registry import accounts
from ranzcr.registry.accounts import Json
from ranzcr.tracking import server

ADMIN = "admin"
READ, EDIT = "READ", "EDIT"  # MLflow's permissions
GRANTS = {  # on the journal's experiment, the candidates model, the production model
    "viewer": (READ, READ, READ),
    "trainer": (EDIT, EDIT, READ),
    "approver": (EDIT, EDIT, EDIT),
}
ROLES = (*GRANTS, ADMIN)


def user(client: MlflowClient) -> str | None:
    """The name that the server's basic-auth knows us by.

    None for a local journal and for a server without auth: then nobody proved who they are.
    Raises TrackingError where the server does not answer or refuses us.
    """
    known = current(client.tracking_uri)
    return known["username"] if known else None


def current(uri: str) -> Json | None:
    """{"username", "is_admin"} of who we are; None and errors as of `user`."""
    if server.sqlite_file(uri):
        return None
    with server.translated(uri), server.hurried():
        return accounts.current_user(uri)
