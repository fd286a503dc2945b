"""The doctor on real servers: a sound one as a team runs it, and several broken ones."""

from __future__ import annotations

import subprocess
import sys

import postgres
import pytest
import swift
from mlflow_servers import MlflowServer, become
from typer.testing import CliRunner

from ranzcr import doctor
from ranzcr.cli import app
from ranzcr.errors import TrackingError
from ranzcr.registry import role_setup

OLD = "3.11.1"  # before MLflow's roles


def examine(uri, until=None):
    """Return the findings by name, up to and including `until`."""
    findings = {}
    examination = doctor.examine(uri, artifact_mb=3)
    for finding in examination:
        findings[finding.name] = finding
        if finding.name == until:
            break
    examination.close()
    return findings


@pytest.mark.parametrize("role", ["admin", "trainer"])
def test_a_sound_server_passes_every_check(role, guarded_server, team, s3, monkeypatch):
    become(guarded_server, team[role], monkeypatch)
    findings = examine(guarded_server.uri)
    findings.pop("ledger")  # tests of roles write versions without a ledger line to this server
    assert {name: it for name, it in findings.items() if it.outcome != "ok"} == {}
    expected = {"admin": "may write ranzcr-clip", "trainer": "may not write ranzcr-clip"}[role]
    assert findings["our role"].text.endswith(expected)
    stored = swift.client(s3).list_objects_v2(Bucket=swift.BUCKET, Prefix="guarded")
    keys = [entry["Key"] for entry in stored.get("Contents", [])]
    assert not [key for key in keys if key.endswith(".bin")]


def test_a_viewer_should_ask_for_a_role(guarded_server, team, monkeypatch):
    become(guarded_server, team["viewer"], monkeypatch)
    finding = examine(guarded_server.uri, until="our role")["our role"]
    assert (finding.outcome, finding.text) == ("warn", "viewer: we may not log runs")
    assert "setup-roles" in finding.fix


def test_a_wrong_password_fails_once(guarded_server, team, monkeypatch):
    become(guarded_server, team["viewer"], monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "not this one")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 2
    assert "rejects the password of the-viewer" in result.stdout
    assert "fail  our credentials: set MLFLOW_TRACKING_USERNAME" in result.stdout
    assert "5 ok, 1 fail" in result.stdout


def test_a_server_that_refuses_its_own_host_name(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    options = ("--workers", "1", "--allowed-hosts", "mlflow,mlflow:*")
    with MlflowServer(tmp_path, options=options) as server:
        findings = examine(server.uri)
    assert findings["answers"].outcome == "ok"
    assert findings["our host name"].outcome == "fail"
    assert findings["our host name"].text == f"refuses {server.uri}"
    assert "--allowed-hosts" in findings["our host name"].fix
    assert {finding.outcome for finding in findings.values()} == {"ok", "fail", "skip"}


@pytest.fixture
def old_mlflow(tmp_path):
    """Install an older MLflow; return the environment that selects it."""
    folder = tmp_path / "old"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--target", folder, f"mlflow=={OLD}"], check=True)
    return {"PYTHONPATH": str(folder)}


def test_an_old_server_that_cannot_store_artifacts(old_mlflow, tmp_path, monkeypatch):
    (tmp_path / "a-file").touch()
    folder = tmp_path / "server"
    folder.mkdir()
    stores = {
        "auth_database": f"sqlite:///{folder / 'auth.db'}",
        "artifacts": str(
            tmp_path / "a-file" / "artifacts"
        ),  # below a file: no folder can be created
    }
    (tmp_path / "roles.yaml").write_text("users:\n  admin: {role: admin}\n")
    with MlflowServer(folder, environment=old_mlflow, **stores) as old:
        become(old, old.admin, monkeypatch)
        findings = examine(old.uri, until="artifact there and back")
        with pytest.raises(TrackingError, match="is too old for roles; upgrade it"):
            role_setup.set_up(tmp_path / "roles.yaml", print)
    assert findings["our credentials"].text == "it knows us as admin"
    text = f"mlflow {OLD} is older than 3.13, the first with roles"
    assert (findings["version"].outcome, findings["version"].text) == ("fail", text)
    assert findings["artifact there and back"].outcome == "fail"
    assert "--artifacts-destination" in findings["artifact there and back"].fix


def test_a_server_without_users_is_a_warning(mlflow_server, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    finding = examine(mlflow_server, until="no credentials")["no credentials"]
    assert finding.outcome == "warn"
    assert finding.text == "it has no users: anyone who reaches it may write and delete everything"


def test_a_server_without_its_database_is_reported_in_one_line(tmp_path, monkeypatch):
    binaries = postgres.binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with (
        postgres.serving(binaries) as cluster,
        MlflowServer(tmp_path, backend=cluster.database("doomed")) as server,
    ):
        examine(server.uri, until="experiment")
        cluster.kill()
        findings = examine(server.uri, until="experiment")
    assert findings["answers"].outcome == "ok", findings
    expected = "fails inside (503): its database may be away or a disk full; see its log, then run"
    assert findings["experiment"].outcome == "fail"
    assert findings["experiment"].text.startswith(expected)
