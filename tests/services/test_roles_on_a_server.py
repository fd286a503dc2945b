"""Roles on a real server with basic-auth: what each may do, and how they are given."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient
from mlflow_servers import Account, account, become

from ranzcr.errors import ConfigError, TrackingError
from ranzcr.registry import role_setup, roles
from ranzcr.tracking import runs, server

PRODUCTION, CANDIDATES = "ranzcr-clip", "ranzcr-clip-candidates"


@pytest.fixture
def acting(guarded_server, team, monkeypatch):
    """Makes us one of the team, by role, or an account; returns our client."""

    def act(who):
        become(guarded_server, who if isinstance(who, Account) else team[who], monkeypatch)
        return server.connect()

    return act


@pytest.fixture
def roles_file(tmp_path, monkeypatch, acting):
    """Writes a file of roles for accounts and sets it up as the admin; the lines it tells."""

    def give(people, **options):
        acting("admin")
        lines = ["users:"]
        for number, (who, role) in enumerate(people.items()):
            monkeypatch.setenv(f"PASSWORD_{number}", who.password)
            lines.append(f"  {who.name}: {{role: {role}, password_env: PASSWORD_{number}}}")
        (tmp_path / "roles.yaml").write_text("\n".join(lines))
        told: list[str] = []
        role_setup.set_up(tmp_path / "roles.yaml", told.append, **options)
        return told

    return give


def log_run(client):
    run = runs.find_or_create(client, runs.make_key("of a role"), "role", {"kind": "single"}, {})
    run.log_text("text", "a.txt")
    run.log_metrics({"cv_auc": 0.5})
    run.end("FINISHED")
    return run.run_id


def make_version(client, model, run_id):
    with server.translated(client.tracking_uri):
        source = f"{client.get_run(run_id).info.artifact_uri}/model"
        return client.create_model_version(model, source, run_id).version


@pytest.fixture
def candidate(acting):
    client = acting("trainer")
    return make_version(client, CANDIDATES, log_run(client))


def test_the_server_says_who_we_are(acting):
    for role in ("viewer", "trainer", "approver"):
        assert roles.user(acting(role)) == f"the-{role}"
        assert roles.own_role(acting(role)) == role
    assert roles.own_role(acting("admin")) == "admin"


def test_a_server_without_auth_knows_nobody(mlflow_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "whatever it is")
    assert roles.user(server.connect()) is None


def test_a_trainer_registers_candidates_and_an_approver_promotes_them(acting, candidate):
    client = acting("approver")
    copied = client.copy_model_version(f"models:/{CANDIDATES}/{candidate}", PRODUCTION)
    client.set_registered_model_alias(PRODUCTION, "champion", copied.version)
    client.set_model_version_tag(PRODUCTION, copied.version, "ledger", "line")
    seen = acting("viewer").get_model_version_by_alias(PRODUCTION, "champion")
    assert seen.version == copied.version


def test_a_trainer_is_told_who_may_write_the_production_model(acting, candidate, guarded_server):
    client = acting("trainer")
    with pytest.raises(TrackingError) as caught, server.translated(client.tracking_uri):
        client.copy_model_version(f"models:/{CANDIDATES}/{candidate}", PRODUCTION)
    assert str(caught.value) == (
        f"MLflow at {guarded_server.uri} refuses the-trainer the call model-versions/create (403): "
        "an approver writes ranzcr-clip, a trainer writes ranzcr-clip-candidates; ask its admin "
        "for the role"
    )
    with pytest.raises(MlflowException):
        client.set_registered_model_alias(PRODUCTION, "champion", "1")
    with pytest.raises(MlflowException):
        client.delete_registered_model(PRODUCTION)


def test_a_viewer_is_told_who_may_log(acting, candidate):
    client = acting("viewer")
    with pytest.raises(TrackingError, match=r"refuses the-viewer the call runs/.* a trainer"):
        log_run(client)
    with pytest.raises(TrackingError, match="refuses the-viewer the call model-versions/create"):
        make_version(client, CANDIDATES, client.get_model_version(CANDIDATES, candidate).run_id)


def test_a_viewer_may_not_write_artifacts(acting, tmp_path):
    run_id = log_run(acting("trainer"))
    with pytest.raises(TrackingError, match=r"refuses the-viewer the call artifacts \(403\)"):
        runs.Run(acting("viewer"), run_id).log_text("mine now", "a.txt")


def test_credentials_that_are_missing_or_wrong_are_one_line(acting, team, monkeypatch):
    with pytest.raises(TrackingError, match="rejects the password of the-trainer; check"):
        acting(Account("the-trainer", "not this one"))
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    with pytest.raises(TrackingError, match="asks for a user name; set MLFLOW_TRACKING_USERNAME"):
        server.connect()


def test_the_same_file_again_changes_nothing(roles_file):
    people = {account("anna"): "trainer", account("ben"): "approver"}
    assert roles_file(people, prune=False)[:2] == ["make user anna", "give anna ranzcr-trainer"]
    assert [line for line in roles_file(people) if "left alone" not in line] == []


def test_a_dry_run_tells_and_changes_nothing(roles_file, acting):
    stranger = account("dora")
    assert roles_file({stranger: "trainer"}, dry_run=True)[0] == "make user dora"
    with pytest.raises(TrackingError, match="rejects the password of dora"):
        acting(stranger)


def test_another_role_and_another_password_are_taken_over(roles_file, acting):
    before, after = account("emil"), account("emil")
    roles_file({before: "approver"})
    told = roles_file({after: "viewer"})
    assert [line for line in told if "left alone" not in line] == [
        "set the password of emil from PASSWORD_0",
        "take ranzcr-approver from emil",
        "give emil ranzcr-viewer",
    ]
    assert roles.own_role(acting(after)) == "viewer"


def test_who_is_not_in_the_file_is_named_and_with_prune_loses_the_role(roles_file, acting, team):
    gone, stays = account("fritz"), account("gerda")
    everyone = {who: role for role, who in team.items() if role != "admin"}
    roles_file({gone: "approver", **everyone})
    assert "left alone, not in the file: fritz has ranzcr-approver" in roles_file({stays: "viewer"})
    assert "take ranzcr-approver from fritz" in roles_file(
        {stays: "viewer", **everyone}, prune=True
    )
    with pytest.raises(TrackingError, match="refuses fritz the call experiments/get-by-name"):
        acting(gone)


def test_a_grant_that_no_role_gave_is_taken_away(roles_file, acting):
    hilda = account("hilda")
    roles_file({hilda: "trainer"})
    grant = {"resource_type": "registered_model", "resource_id": PRODUCTION}
    client = AuthServiceClient(server.tracking_uri())
    client.grant_user_permission("hilda", **grant, permission="MANAGE")
    assert roles.own_role(acting(hilda)) == "approver"
    assert f"take MANAGE on model {PRODUCTION} from hilda" in roles_file({hilda: "trainer"})
    assert roles.own_role(acting(hilda)) == "trainer"


def test_what_a_foreign_role_gives_too_much_is_told(roles_file):
    ida = account("ida")
    roles_file({ida: "trainer"})
    client = AuthServiceClient(server.tracking_uri())
    foreign = client.create_role("default", "foreign")
    client.add_role_permission(foreign.id, "registered_model", PRODUCTION, "EDIT")
    client.assign_role("ida", foreign.id)
    with pytest.raises(TrackingError, match="ida is a trainer, and still has EDIT on model"):
        roles_file({ida: "trainer"})


def test_a_password_that_mlflow_refuses_is_one_line(roles_file):
    refused = r"user jan: MLflow refuses the password in PASSWORD_0: .* at least 12 characters"
    with pytest.raises(ConfigError, match=refused):
        roles_file({Account("jan", "short"): "viewer"})


def test_only_an_admin_gives_roles(acting, tmp_path, team):
    file = tmp_path / "roles.yaml"
    file.write_text("users:\n  admin: {role: trainer}\n")
    acting("approver")
    with pytest.raises(TrackingError, match="the-approver is not an admin"):
        role_setup.set_up(file, print)
    acting("admin")
    with pytest.raises(ConfigError, match="which you cannot make a trainer"):
        role_setup.set_up(file, print)


def test_a_user_without_account_and_password_stops_it_before_anything_changes(acting, tmp_path):
    acting("admin")
    file = tmp_path / "roles.yaml"
    file.write_text("users:\n  the-viewer: {role: approver}\n  jonas: {role: viewer}\n")
    with pytest.raises(ConfigError, match="user jonas has no account on the server yet"):
        role_setup.set_up(file, print)
    assert roles.own_role(acting("viewer")) == "viewer"
