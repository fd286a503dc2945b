"""Roles on a real server with basic-auth: their permissions, and how users get them."""

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
def act_as(guarded_server, team, monkeypatch):
    """Return a function that logs in as a role of the team, or an account, and returns a client."""

    def act_as(user):
        account = user if isinstance(user, Account) else team[user]
        become(guarded_server, account, monkeypatch)
        return server.connect()

    return act_as


@pytest.fixture
def set_up_roles(tmp_path, monkeypatch, act_as):
    """Return a function that sets up roles of accounts as the admin and returns the report."""

    def set_up(accounts, **options):
        act_as("admin")
        lines = ["users:"]
        for number, (user, role) in enumerate(accounts.items()):
            monkeypatch.setenv(f"PASSWORD_{number}", user.password)
            lines.append(f"  {user.name}: {{role: {role}, password_env: PASSWORD_{number}}}")
        (tmp_path / "roles.yaml").write_text("\n".join(lines))
        report: list[str] = []
        role_setup.set_up(tmp_path / "roles.yaml", report.append, **options)
        return report

    return set_up


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
def candidate(act_as):
    client = act_as("trainer")
    return make_version(client, CANDIDATES, log_run(client))


def test_the_server_names_the_user_and_the_role(act_as):
    for role in ("viewer", "trainer", "approver"):
        assert roles.user(act_as(role)) == f"the-{role}"
        assert roles.own_role(act_as(role)) == role
    assert roles.own_role(act_as("admin")) == "admin"


def test_a_server_without_auth_has_no_user(mlflow_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "whatever it is")
    assert roles.user(server.connect()) is None


def test_a_trainer_registers_candidates_and_an_approver_promotes_them(act_as, candidate):
    client = act_as("approver")
    copied = client.copy_model_version(f"models:/{CANDIDATES}/{candidate}", PRODUCTION)
    client.set_registered_model_alias(PRODUCTION, "champion", copied.version)
    client.set_model_version_tag(PRODUCTION, copied.version, "ledger", "line")
    seen = act_as("viewer").get_model_version_by_alias(PRODUCTION, "champion")
    assert seen.version == copied.version


def test_the_error_says_who_may_write_the_production_model(act_as, candidate, guarded_server):
    client = act_as("trainer")
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


def test_the_error_for_a_viewer_says_who_may_log(act_as, candidate):
    client = act_as("viewer")
    with pytest.raises(TrackingError, match=r"refuses the-viewer the call runs/.* a trainer"):
        log_run(client)
    with pytest.raises(TrackingError, match="refuses the-viewer the call model-versions/create"):
        make_version(client, CANDIDATES, client.get_model_version(CANDIDATES, candidate).run_id)


def test_a_viewer_may_not_write_artifacts(act_as, tmp_path):
    run_id = log_run(act_as("trainer"))
    with pytest.raises(TrackingError, match=r"refuses the-viewer the call artifacts \(403\)"):
        runs.Run(act_as("viewer"), run_id).log_text("mine now", "a.txt")


def test_missing_or_wrong_credentials_are_reported(act_as, team, monkeypatch):
    with pytest.raises(TrackingError, match="rejects the password of the-trainer; check"):
        act_as(Account("the-trainer", "not this one"))
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    with pytest.raises(TrackingError, match="asks for a user name; set MLFLOW_TRACKING_USERNAME"):
        server.connect()


def test_the_same_file_again_changes_nothing(set_up_roles):
    accounts = {account("anna"): "trainer", account("ben"): "approver"}
    assert set_up_roles(accounts, prune=False)[:2] == ["make user anna", "give anna ranzcr-trainer"]
    assert [line for line in set_up_roles(accounts) if "left alone" not in line] == []


def test_a_dry_run_reports_and_changes_nothing(set_up_roles, act_as):
    stranger = account("dora")
    assert set_up_roles({stranger: "trainer"}, dry_run=True)[0] == "make user dora"
    with pytest.raises(TrackingError, match="rejects the password of dora"):
        act_as(stranger)


def test_a_changed_role_and_a_changed_password_are_applied(set_up_roles, act_as):
    before, after = account("emil"), account("emil")
    set_up_roles({before: "approver"})
    report = set_up_roles({after: "viewer"})
    assert [line for line in report if "left alone" not in line] == [
        "set the password of emil from PASSWORD_0",
        "take ranzcr-approver from emil",
        "give emil ranzcr-viewer",
    ]
    assert roles.own_role(act_as(after)) == "viewer"


def test_a_user_missing_in_the_file_is_reported_and_with_prune_loses_the_role(
    set_up_roles, act_as, team
):
    gone, stays = account("fritz"), account("gerda")
    members = {user: role for role, user in team.items() if role != "admin"}
    set_up_roles({gone: "approver", **members})
    assert "left alone, not in the file: fritz has ranzcr-approver" in set_up_roles(
        {stays: "viewer"}
    )
    assert "take ranzcr-approver from fritz" in set_up_roles(
        {stays: "viewer", **members}, prune=True
    )
    with pytest.raises(TrackingError, match="refuses fritz the call experiments/get-by-name"):
        act_as(gone)


def test_a_permission_that_comes_from_no_role_is_taken_away(set_up_roles, act_as):
    hilda = account("hilda")
    set_up_roles({hilda: "trainer"})
    grant = {"resource_type": "registered_model", "resource_id": PRODUCTION}
    client = AuthServiceClient(server.tracking_uri())
    client.grant_user_permission("hilda", **grant, permission="MANAGE")
    assert roles.own_role(act_as(hilda)) == "approver"
    assert f"take MANAGE on model {PRODUCTION} from hilda" in set_up_roles({hilda: "trainer"})
    assert roles.own_role(act_as(hilda)) == "trainer"


def test_a_foreign_role_that_grants_too_much_is_reported(set_up_roles):
    ida = account("ida")
    set_up_roles({ida: "trainer"})
    client = AuthServiceClient(server.tracking_uri())
    foreign = client.create_role("default", "foreign")
    client.add_role_permission(foreign.id, "registered_model", PRODUCTION, "EDIT")
    client.assign_role("ida", foreign.id)
    with pytest.raises(TrackingError, match="ida is a trainer, and still has EDIT on model"):
        set_up_roles({ida: "trainer"})


def test_a_password_that_mlflow_refuses_is_reported(set_up_roles):
    message = r"user jan: MLflow refuses the password in PASSWORD_0: .* at least 12 characters"
    with pytest.raises(ConfigError, match=message):
        set_up_roles({Account("jan", "short"): "viewer"})


def test_only_an_admin_sets_up_roles(act_as, tmp_path, team):
    file = tmp_path / "roles.yaml"
    file.write_text("users:\n  admin: {role: trainer}\n")
    act_as("approver")
    with pytest.raises(TrackingError, match="the-approver is not an admin"):
        role_setup.set_up(file, print)
    act_as("admin")
    with pytest.raises(ConfigError, match="which you cannot make a trainer"):
        role_setup.set_up(file, print)


def test_a_user_without_account_and_password_stops_the_setup_before_any_change(act_as, tmp_path):
    act_as("admin")
    file = tmp_path / "roles.yaml"
    file.write_text("users:\n  the-viewer: {role: approver}\n  jonas: {role: viewer}\n")
    with pytest.raises(ConfigError, match="user jonas has no account on the server yet"):
        role_setup.set_up(file, print)
    assert roles.own_role(act_as("viewer")) == "viewer"
