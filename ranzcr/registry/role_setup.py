"""Give users their roles on a server with basic-auth, from a YAML file.

A role is one of MLflow's, called `ranzcr-<role>`, with grants on the journal's experiment and the
two registered models. Whoever creates one of those in MLflow owns it, so `set_up` creates them as
an admin before anybody else can.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import mlflow
import pydantic
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ranzcr import settings
from ranzcr.errors import ConfigError, TrackingError, nearest
from ranzcr.registry import roles
from ranzcr.registry.candidates import CANDIDATES
from ranzcr.registry.ledger import PRODUCTION
from ranzcr.registry.roles import ADMIN, GRANTS, ROLES, Resource
from ranzcr.tracking import server
from ranzcr.tracking.place import EXPERIMENT, shown, tracking_uri

if TYPE_CHECKING:
    from mlflow.server.auth.client import AuthServiceClient
    from mlflow.server.auth.entities import Role, RolePermission

_WORKSPACE = "default"  # where MLflow keeps all grants unless workspaces are on
_Change = tuple[str, Callable[[], object]]  # its description, and what makes it
_DESCRIPTION = "of ranzcr registry setup-roles"


def _check_role(role: str) -> str:
    if role not in ROLES:
        raise ConfigError(f"no role {role!r}; {nearest(role, ROLES)}")
    return role


class _UserSettings(settings.Settings):
    role: Annotated[str, settings.chosen(_check_role)]
    password_env: str | None = None
    password_file: Path | None = None


class _RolesFile(settings.Settings):
    model_config = pydantic.ConfigDict(hide_input_in_errors=True)  # it may be a password

    users: dict[str, _UserSettings]


@dataclass(frozen=True)
class RoleMember:
    """A user in the file of roles, with the password. None: the account must exist."""

    role: str
    password: str | None = field(default=None, repr=False)
    source: str = ""  # where the password is from


@dataclass(frozen=True)
class _User:
    """A user of the server."""

    is_admin: bool = False
    roles: tuple[Role, ...] = ()  # grants without a role are in one named `__user_<id>__`


def set_up(
    file: Path, report: Callable[[str], None], *, dry_run: bool = False, prune: bool = False
) -> int:
    """Give the users of a YAML file their roles; return how many changes that took.

        users:
          anna: {role: trainer, password_env: ANNA_PASSWORD}
          ben: {role: approver, password_file: /run/secrets/ben}
          cleo: {role: viewer}  # has an account already

    Args:
        file: the YAML; a password is in an environment variable or in another file.
        report: gets a line for each change, right before it is made.
        dry_run: only report the changes.
        prune: take the roles and grants from users who are not in the file; else they are
            reported and left alone.

    The same file a second time changes nothing. Accounts are never deleted. Raises ConfigError for
    the file and for missing packages, TrackingError for a server without auth, for a user who is
    not an admin, and if a user could do more than the role gives, as with a generous default of
    the server.
    """
    members = read(file)
    uri = tracking_uri()
    _require_admin(uri, members)
    auth = _auth_client(uri)
    changes = 0
    with server.translated(uri), server.hurried():
        setup = _Setup(server.client_of(uri), auth, _users(uri))
        setup.require_accounts(members)
        for description, apply in setup.changes(members, prune):
            report(description)
            changes += 1
            if not dry_run:
                apply()
        for name in () if prune else setup.not_in(members):
            for grant, _ in setup.held(name):
                report(f"left alone, not in the file: {name} has {grant}")
        if not dry_run:
            setup.check_effective(members)
    return changes


def read(file: Path) -> dict[str, RoleMember]:
    """Return the users by name. Raises ConfigError for a typo and for a missing password."""
    users = settings.load(_RolesFile, file).users
    return {
        name: RoleMember(user.role, *_password(user, f"{file}: user {name}", file.parent))
        for name, user in users.items()
    }


def _password(user: _UserSettings, where: str, folder: Path) -> tuple[str | None, str]:
    """Return a user's password and where it is from; None and "" if the file names neither."""
    variable, path = user.password_env, user.password_file
    if variable and path:
        raise ConfigError(f"{where}: has password_env and password_file; keep one of them")
    if variable:
        if not variable.isidentifier():  # perhaps a password, so do not show it
            raise ConfigError(f"{where}: password_env takes the name of an environment variable")
        if not os.environ.get(variable):
            raise ConfigError(f"{where}: {variable} is not set; export it")
        return os.environ[variable], variable
    if not path:
        return None, ""
    path = folder / path
    password = path.read_text(encoding="utf-8").strip("\r\n") if path.is_file() else ""
    if not password:
        raise ConfigError(f"{where}: {path} holds no password; write it there")
    return password, str(path)


def _require_admin(uri: str, members: Mapping[str, RoleMember]) -> None:
    account = roles.current(uri)
    if account is None:
        raise TrackingError(
            f"MLflow at {shown(uri)} has no users: anyone who reaches it may do anything; "
            "start it with --app-name basic-auth, then give roles"
        )
    name = account.name
    if not account.is_admin:
        raise TrackingError(
            f"MLflow at {shown(uri)}: {name} is not an admin, and only an admin gives "
            "roles; set MLFLOW_TRACKING_USERNAME to an admin"
        )
    if name in members and members[name].role != ADMIN:
        raise ConfigError(
            f"user {name}: this is your own admin account, which you cannot make a "
            f"{members[name].role}; remove it from the file, or let another admin run this"
        )


def _auth_client(uri: str) -> AuthServiceClient:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the server that it imports
            from mlflow.server.auth.client import AuthServiceClient
    except ImportError:
        raise ConfigError(
            "roles are set up through MLflow's auth client, which is not installed; run: "
            f"pip install 'mlflow[auth]=={mlflow.__version__}'"
        ) from None
    return AuthServiceClient(uri)


def _users(uri: str) -> dict[str, _User]:
    from mlflow.server.auth.entities import Role

    answer = roles.get(uri, "2.0/mlflow/users/list")
    assert answer is not None
    try:
        return {
            user["username"]: _User(user["is_admin"], tuple(map(Role.from_json, user["roles"])))
            for user in answer["users"]
        }
    except KeyError:
        raise TrackingError(
            f"MLflow at {shown(uri)} is too old for roles; upgrade it to mlflow "
            f"{mlflow.__version__}"
        ) from None


@dataclass(frozen=True)
class _Setup:
    """The changes that a server needs, each to be applied before the next one is asked for."""

    client: MlflowClient
    auth: AuthServiceClient
    users: Mapping[str, _User]

    def require_accounts(self, members: Mapping[str, RoleMember]) -> None:
        """Raise ConfigError for a user who has neither an account nor a password for one."""
        for name, member in members.items():
            if name not in self.users and member.password is None:
                raise ConfigError(
                    f"user {name} has no account on the server yet; add password_env or "
                    "password_file"
                )

    def changes(self, members: Mapping[str, RoleMember], prune: bool) -> Iterator[_Change]:
        yield from self._resources()
        yield from self._roles()
        for name, member in members.items():
            yield from self._account(name, member)
            yield from self._role_of(name, member.role)
        for name in self.not_in(members) if prune else ():
            yield from self._take(name)

    def not_in(self, members: Mapping[str, RoleMember]) -> list[str]:
        """Return the users, except admins, who are not in the file."""
        names = sorted(self.users.keys() - members.keys())
        return [name for name in names if not self.users[name].is_admin]

    def held(self, name: str, keep: str = "") -> Iterator[_Change]:
        """Yield a user's roles and grants of ours, except the role `keep`, with their removal."""
        ours = set(roles.resources(self.client))
        for role in self.users[name].roles if name in self.users else ():
            if role.name in {_mlflow_role(known) for known in GRANTS} - {keep}:
                yield role.name, partial(self.auth.unassign_role, name, role.id)
            for grant in role.permissions if role.name.startswith("__user_") else ():
                resource = _resource_of(grant)
                if resource in ours:
                    revoke = partial(self.auth.revoke_user_permission, name, *resource)
                    yield f"{grant.permission} on {_shown(resource)}", revoke

    def check_effective(self, members: Mapping[str, RoleMember]) -> None:
        """Raise TrackingError if a user may do more than the role gives."""
        resources = roles.resources(self.client)
        for name, member in members.items():
            for resource, wanted in zip(resources, GRANTS.get(member.role, ()), strict=False):
                permission = self.auth.get_user_permission(name, *resource).permission
                if not roles.covers(wanted, permission):
                    raise TrackingError(
                        f"{name} is a {member.role}, and still has {permission} on "
                        f"{_shown(resource)}: set the server's default_permission to READ or "
                        "NO_PERMISSIONS, and take away what other roles give"
                    )

    def _resources(self) -> Iterator[_Change]:
        """Create the experiment and the registered models, so that the admin owns them."""
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            create = partial(self.client.create_experiment, EXPERIMENT)
            yield f"make experiment {EXPERIMENT}", create
        elif experiment.lifecycle_stage == "deleted":
            restore = partial(self.client.restore_experiment, experiment.experiment_id)
            yield f"restore experiment {EXPERIMENT}", restore
        for name in (CANDIDATES, PRODUCTION):
            if not self.client.search_registered_models(f"name = '{name}'"):
                create_model = partial(self.client.create_registered_model, name)
                yield f"make registered model {name}", create_model

    def _roles(self) -> Iterator[_Change]:
        """Create the three roles, with one grant each on our resources."""
        existing = {role.name: role.permissions for role in self.auth.list_roles(_WORKSPACE)}
        resources = roles.resources(self.client)
        for role, permissions in GRANTS.items():
            name = _mlflow_role(role)
            if name not in existing:
                create = partial(self.auth.create_role, _WORKSPACE, name, _DESCRIPTION)
                yield f"make role {name}", create
            grants = {_resource_of(grant): grant for grant in existing.get(name, ())}
            for resource, permission in zip(resources, permissions, strict=True):
                grant = grants.get(resource)
                if grant is None:
                    give = partial(self._grant, name, resource, permission)
                else:
                    give = partial(self.auth.update_role_permission, grant.id, permission)
                if grant is None or grant.permission != permission:
                    yield f"give {name} {permission} on {_shown(resource)}", give

    def _account(self, name: str, member: RoleMember) -> Iterator[_Change]:
        """Create the account, or set its password; make it an admin, or no longer one."""
        if name not in self.users:
            create = partial(_with_password, self.auth.create_user, name, member)
            yield f"make user {name}", create
        elif member.password and not self._accepts(name, member.password):
            renew = partial(_with_password, self.auth.update_user_password, name, member)
            yield f"set the password of {name} from {member.source}", renew
        is_admin = member.role == ADMIN
        if is_admin != self.users.get(name, _User()).is_admin:
            verb = "make" if is_admin else "no longer have"
            appoint = partial(self.auth.update_user_admin, name, is_admin)
            yield f"{verb} {name} an admin", appoint

    def _role_of(self, name: str, role: str) -> Iterator[_Change]:
        """Give a user the role, and take away all other roles and grants of ours."""
        wanted = _mlflow_role(role)
        yield from self._take(name, keep=wanted)
        existing = {held.name for held in self.users.get(name, _User()).roles}
        if role != ADMIN and wanted not in existing:
            yield f"give {name} {wanted}", partial(self._assign, name, wanted)

    def _take(self, name: str, keep: str = "") -> Iterator[_Change]:
        for grant, remove in self.held(name, keep):
            yield f"take {grant} from {name}", remove

    def _accepts(self, name: str, password: str) -> bool:
        """Return whether this is the user's password."""
        uri, path = self.auth.tracking_uri, "/api/2.0/mlflow/users/current"
        return server.get(uri, path, login=(name, password)).status_code != 401

    def _grant(self, role: str, resource: Resource, permission: str) -> None:
        self.auth.add_role_permission(self._role_id(role), *resource, permission)

    def _assign(self, name: str, role: str) -> None:
        self.auth.assign_role(name, self._role_id(role))

    def _role_id(self, name: str) -> int:
        """Return the id of a role, which may have been created a moment ago."""
        ids = {role.name: role.id for role in self.auth.list_roles(_WORKSPACE)}
        return int(ids[name])


def _with_password(act: Callable[[str, str], object], name: str, member: RoleMember) -> None:
    """Create a user, or set its password. Raises ConfigError if MLflow refuses the password."""
    assert member.password is not None
    try:
        act(name, member.password)
    except MlflowException as error:
        if "assword" not in str(error):
            raise
        raise ConfigError(
            f"user {name}: MLflow refuses the password in {member.source}: {error.message}"
        ) from None


def _resource_of(grant: RolePermission) -> Resource:
    return Resource(grant.resource_type, grant.resource_pattern)


def _shown(resource: Resource) -> str:
    if resource.type == roles.EXPERIMENT_TYPE:
        return f"experiment {EXPERIMENT}"
    return f"model {resource.id}"


def _mlflow_role(role: str) -> str:
    return f"ranzcr-{role}"
