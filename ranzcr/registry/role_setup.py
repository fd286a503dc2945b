"""Giving users their roles on a server with basic-auth, from a YAML file.

A role is one of MLflow's, called `ranzcr-<role>`, with grants on the journal's experiment and the
two registered models. Whoever creates one of those in MLflow owns it, so `set_up` creates them,
as an admin, before anybody else can.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ranzcr.errors import ConfigError, TrackingError, nearest
from ranzcr.registry import roles
from ranzcr.registry.accounts import Accounts, Json
from ranzcr.registry.candidates import CANDIDATES
from ranzcr.registry.ledger import PRODUCTION
from ranzcr.registry.roles import ADMIN, EDIT, GRANTS, READ, ROLES
from ranzcr.tracking import server
from ranzcr.yaml_files import read_settings

_EXPERIMENT, _MODEL = "experiment", "registered_model"  # MLflow's words for the resources' types
_WEAKEST_FIRST = ("DENY", "NO_PERMISSIONS", READ, "USE", EDIT, "MANAGE")
_SETTINGS = ("role", "password_env", "password_file")

Resource = tuple[str, str]  # MLflow's type, and the id or name


@dataclass(frozen=True)
class RoleMember:
    """A user as the file of roles has it. `password` None: the account must exist."""

    role: str
    password: str | None = field(default=None, repr=False)
    source: str = ""  # where the password is from


def own_role(client: MlflowClient) -> str | None:
    """The strongest role whose rights we have on a server with auth, None where we have none."""
    uri = client.tracking_uri
    us = roles.current(uri)
    assert us is not None
    if us["is_admin"]:
        return ADMIN
    with server.translated(uri), server.hurried():
        known = Accounts(uri)
        found = [known.permission(us["username"], *each) for each in _resources(client)]
    strongest_first = reversed(GRANTS.items())
    return next((role for role, needs in strongest_first if all(map(_covers, found, needs))), None)


def set_up(
    file: Path, tell: Callable[[str], None], *, dry_run: bool = False, prune: bool = False
) -> int:
    """Give the users of a YAML file their roles; how many changes that took.

        users:
          anna: {role: trainer, password_env: ANNA_PASSWORD}
          ben: {role: approver, password_file: /run/secrets/ben}
          cleo: {role: viewer}  # has an account already

    Args:
        file: the YAML; a password is in an environment variable or in a file, never in it.
        tell: gets a line for each change, right before it is made.
        dry_run: only tell what would be changed.
        prune: take these roles and resources from users who are not in the file; else they are
            named and left alone.

    The same file a second time changes nothing. Accounts are never deleted. Raises ConfigError for
    the file, TrackingError for a server without auth, for who is no admin, and where a user could
    do more than the role gives, as with a generous default of the server.
    """
    members = read(file)
    uri = server.tracking_uri()
    _require_admin(uri, members)
    client = server.client_of(uri)
    with server.translated(uri), server.hurried():
        setup = _Setup(client, Accounts(uri), tell, dry_run)
        setup.require_accounts(members)
        setup.resources()
        setup.roles()
        for name, member in members.items():
            setup.user(name, member)
        setup.others(members, prune)
        if not dry_run:
            _check_effective(client, setup.accounts, members)
    return setup.changes


def read(file: Path) -> dict[str, RoleMember]:
    """The members by name. Raises ConfigError for a typo or a password that is not there."""
    content = read_settings(file)
    _known_keys(content, ("users",), str(file))
    if not isinstance(content.get("users"), dict):
        raise ConfigError(f"{file}: expected `users:` with a line per user")
    return {
        str(name): _member(told, f"{file}: user {name}", file.parent)
        for name, told in content["users"].items()
    }


def _known_keys(told: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in told:
        if key not in known:
            raise ConfigError(f"{where}: no setting {key!r}; {nearest(str(key), known)}")


def _member(told: Any, where: str, folder: Path) -> RoleMember:
    told = told if isinstance(told, dict) else {}
    if "password" in told:
        raise ConfigError(
            f"{where}: a password does not belong in this file; name a variable (password_env) or "
            "a file (password_file) that holds it"
        )
    _known_keys(told, _SETTINGS, where)
    role = str(told.get("role", ""))
    if role not in ROLES:
        raise ConfigError(f"{where}: no role {role!r}; {nearest(role, ROLES)}")
    if "password_env" in told and "password_file" in told:
        raise ConfigError(f"{where}: has password_env and password_file; keep one of them")
    if "password_env" in told:
        return RoleMember(role, *_from_environment(str(told["password_env"]), where))
    if "password_file" in told:
        return RoleMember(role, *_from_file(folder / str(told["password_file"]), where))
    return RoleMember(role)


def _from_environment(variable: str, where: str) -> tuple[str, str]:
    if not variable.isidentifier():  # a password, perhaps: not to be shown
        raise ConfigError(f"{where}: password_env takes the name of an environment variable")
    password = os.environ.get(variable)
    if not password:
        raise ConfigError(f"{where}: {variable} is not set; export it")
    return password, variable


def _from_file(path: Path, where: str) -> tuple[str, str]:
    password = path.read_text(encoding="utf-8").strip("\r\n") if path.is_file() else ""
    if not password:
        raise ConfigError(f"{where}: {path} holds no password; write it there")
    return password, str(path)


def _require_admin(uri: str, members: Mapping[str, RoleMember]) -> None:
    us = roles.current(uri)
    if us is None:
        raise TrackingError(
            f"MLflow at {server.shown(uri)} has no users: anyone who reaches it may do anything; "
            "start it with --app-name basic-auth, then give roles"
        )
    name = us["username"]
    if not us["is_admin"]:
        raise TrackingError(
            f"MLflow at {server.shown(uri)}: {name} is no admin, and roles are an admin's to give; "
            "set MLFLOW_TRACKING_USERNAME to one"
        )
    if name in members and members[name].role != ADMIN:
        raise ConfigError(
            f"user {name}: you are this admin, and cannot become a {members[name].role} by your "
            "own hand; leave it out, or let another admin run this"
        )


class _Setup:
    """Makes what is there equal to what is wanted, and tells each change."""

    def __init__(
        self, client: MlflowClient, known: Accounts, tell: Callable[[str], None], dry_run: bool
    ) -> None:
        self.client = client
        self.accounts = known
        self.tell = tell
        self.dry_run = dry_run
        self.changes = 0
        self._users = {each["username"]: each for each in known.users()}
        self._roles = {role["name"]: role for role in known.roles()}
        self._ours: list[Resource] = []

    def require_accounts(self, members: Mapping[str, RoleMember]) -> None:
        """Raise ConfigError for who has neither an account nor a password for one."""
        for name, member in members.items():
            if name not in self._users and member.password is None:
                raise ConfigError(
                    f"user {name} has no account on the server yet; add password_env or "
                    "password_file"
                )

    def resources(self) -> None:
        """The experiment and the registered models, all the admin's."""
        experiment = self.client.get_experiment_by_name(server.EXPERIMENT)
        if experiment is None:
            make = partial(self.client.create_experiment, server.EXPERIMENT)
            self._change(f"make experiment {server.EXPERIMENT}", make)
        elif experiment.lifecycle_stage == "deleted":
            restore = partial(self.client.restore_experiment, experiment.experiment_id)
            self._change(f"restore experiment {server.EXPERIMENT}", restore)
        for name in (CANDIDATES, PRODUCTION):
            if not _has_model(self.client, name):
                make_model = partial(self.client.create_registered_model, name)
                self._change(f"make registered model {name}", make_model)
        self._ours = _resources(self.client)

    def roles(self) -> None:
        """The three roles, each with its grants on our resources and no other one on them."""
        for role, permissions in GRANTS.items():
            name = _mlflow_role(role)
            if name not in self._roles:
                self._change(f"make role {name}", partial(self._make_role, name))
            known = self._roles.get(name, {"id": -1, "permissions": []})
            for resource, permission in zip(self._ours, permissions, strict=True):
                self._grant(known, name, resource, permission)

    def user(self, name: str, member: RoleMember) -> None:
        """One account: its password, whether it is an admin, its role, and no grant beside it."""
        if name not in self._users:
            create = partial(self._with_password, self.accounts.create_user, name, member)
            self._change(f"make user {name}", create)
            self._users[name] = {"username": name, "is_admin": False, "roles": []}
        elif member.password and not self.accounts.accepts(name, member.password):
            renew = partial(self._with_password, self.accounts.set_password, name, member)
            self._change(f"set the password of {name} from {member.source}", renew)
        is_admin = member.role == ADMIN
        if self._users[name]["is_admin"] != is_admin:
            verb = "make" if is_admin else "no longer have"
            appoint = partial(self.accounts.set_admin, name, is_admin)
            self._change(f"{verb} {name} an admin", appoint)
        self._reduce(name, keep=_mlflow_role(member.role))
        self._assign(name, _mlflow_role(member.role))

    def others(self, members: Iterable[str], prune: bool) -> None:
        """Users who are not in the file, and have a role or a grant of ours."""
        for name in sorted(self._users.keys() - set(members)):
            if self._users[name]["is_admin"]:
                continue
            if prune:
                self._reduce(name)
            else:
                for held, _ in self._held(name):
                    self.tell(f"left alone, not in the file: {name} has {held}")

    def _change(self, what: str, act: Callable[[], object]) -> None:
        self.tell(what)
        self.changes += 1
        if not self.dry_run:
            act()

    def _make_role(self, name: str) -> None:
        self._roles[name] = self.accounts.create_role(name, "of ranzcr registry setup-roles")

    def _with_password(
        self, act: Callable[[str, str], None], name: str, member: RoleMember
    ) -> None:
        assert member.password is not None
        try:
            act(name, member.password)
        except MlflowException as error:
            if "assword" not in str(error):
                raise
            raise ConfigError(
                f"user {name}: MLflow refuses the password in {member.source}: {error.message}"
            ) from None

    def _grant(self, role: Json, name: str, resource: Resource, permission: str) -> None:
        here = [grant for grant in role["permissions"] if _resource_of(grant) == resource]
        if [grant["permission"] for grant in here] == [permission]:
            return
        for grant in here:
            forbid = partial(self.accounts.forbid, grant["id"])
            self._change(f"take {grant['permission']} on {_shown(resource)} from {name}", forbid)
        permit = partial(self.accounts.permit, role["id"], *resource, permission)
        self._change(f"give {name} {permission} on {_shown(resource)}", permit)

    def _assign(self, name: str, role: str) -> None:
        held = {each["name"] for each in self._users[name]["roles"]}
        if role != _mlflow_role(ADMIN) and role not in held:
            # The role may have been made a moment ago: look it up when it is given.
            self._change(
                f"give {name} {role}",
                lambda: self.accounts.assign(name, self._roles[role]["id"]),
            )

    def _reduce(self, name: str, keep: str = "") -> None:
        for what, act in self._held(name, keep):
            self._change(f"take {what} from {name}", act)

    def _held(self, name: str, keep: str = "") -> Iterator[tuple[str, Callable[[], None]]]:
        """What a user has of ours but the role `keep`, each with what takes it away."""
        ours = {_mlflow_role(role) for role in GRANTS}
        for role in self._users[name]["roles"]:
            if role["name"] in ours - {keep}:
                yield role["name"], partial(self.accounts.unassign, name, role["id"])
            for grant in role["permissions"] if role["name"].startswith("__user_") else ():
                if _resource_of(grant) in self._ours:
                    what = f"{grant['permission']} on {_shown(_resource_of(grant))}"
                    yield what, partial(self.accounts.revoke, name, *_resource_of(grant))


def _resources(client: MlflowClient) -> list[Resource]:
    """The experiment, the candidates, the production model; the id "" where none is yet."""
    experiment = client.get_experiment_by_name(server.EXPERIMENT)
    place = experiment.experiment_id if experiment else ""
    return [(_EXPERIMENT, place), (_MODEL, CANDIDATES), (_MODEL, PRODUCTION)]


def _resource_of(grant: Json) -> Resource:
    return grant["resource_type"], grant["resource_pattern"]


def _shown(resource: Resource) -> str:
    kind, name = resource
    return f"experiment {server.EXPERIMENT}" if kind == _EXPERIMENT else f"model {name}"


def _mlflow_role(role: str) -> str:
    return f"ranzcr-{role}"


def _has_model(client: MlflowClient, name: str) -> bool:
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _covers(permission: str, needed: str) -> bool:
    return _WEAKEST_FIRST.index(permission) >= _WEAKEST_FIRST.index(needed)


def _check_effective(
    client: MlflowClient, known: Accounts, members: Mapping[str, RoleMember]
) -> None:
    """Raise TrackingError where a user may do more than the role gives."""
    for name, member in members.items():
        for resource, wanted in zip(_resources(client), GRANTS.get(member.role, ()), strict=False):
            found = known.permission(name, *resource)
            if not _covers(wanted, found):
                raise TrackingError(
                    f"{name} is a {member.role}, and still has {found} on {_shown(resource)}: set "
                    "the server's default_permission to READ or NO_PERMISSIONS, and take away what "
                    "other roles give"
                )
