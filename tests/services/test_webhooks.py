"""A real MLflow server delivers signed webhooks to our receiver."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import chat as chats
import pytest
from cryptography.fernet import Fernet
from journal_fixtures import PASSED
from mlflow import MlflowClient
from mlflow_servers import MlflowServer
from processes import free_ports, running, wait_until

from ranzcr.errors import TrackingError
from ranzcr.notify import webhooks
from ranzcr.registry import candidates, ledger
from ranzcr.registry.gates import Gate, GateReport
from ranzcr.registry.sealed import seal
from ranzcr.tracking import server

SECRET = "a secret of the team"
RANZCR = Path(sys.executable).parent / "ranzcr"
LOOPBACK = {
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "1",
    "MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES": "0",
}


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    """An MLflow server of two workers that may deliver to loopback."""
    server = MlflowServer(
        tmp_path_factory.mktemp("webhooks"),
        options=("--workers", "2"),
        environment={
            **LOOPBACK,
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        },
    )
    with server:
        yield server


@pytest.fixture
def client(mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.uri)
    return server.connect()


@pytest.fixture
def chat():
    with chats.talking() as open_chat:
        yield open_chat


@pytest.fixture
def receiver(chat, tmp_path):
    """`ranzcr notify serve`, a process of its own; its address."""
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}/"
    environment = {"RANZCR_WEBHOOK_URL": chat.url, "RANZCR_WEBHOOK_SECRET": SECRET}
    command = [RANZCR, "notify", "serve", "--port", str(port)]
    with running(command, tmp_path / "receiver.log", environment):
        wait_until(lambda: answers(f"{address}health"), f"receiver; see {tmp_path}/receiver.log")
        yield address


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=1).status == 200
    except OSError:
        return False


def register_candidate(client, report):
    """A version of the candidates model, as `register` makes it; its number."""
    candidates.ensure_model(client, candidates.CANDIDATES)
    tags = {"gate": report.result, candidates.REPORT: seal(report.to_json())}
    made = client.create_model_version(candidates.CANDIDATES, "s3://nowhere/model", tags=tags)
    return str(made.version)


def promote_by_hand(client, candidate):
    """What a promotion asks of the server: a version with its line, then the alias."""
    candidates.ensure_model(client, ledger.PRODUCTION)
    chain = ledger.read(client)
    entry = chain.next(
        **{"who": "Ada", "why": "good", "action": ledger.PROMOTE, "candidate_version": candidate},
        **{"previous_version": "", "model": {}, "registered_by": "Ada"},
        gate_report=PASSED.to_json(),
    )
    made = client.create_model_version(
        ledger.PRODUCTION,
        f"models:/{candidates.CANDIDATES}/{candidate}",
        tags={ledger.TAG: entry.line},
    )
    client.set_registered_model_alias(ledger.PRODUCTION, candidates.CHAMPION, made.version)


def test_what_happens_in_the_registry_reaches_the_chat_signed(client, chat, receiver):
    assert webhooks.register(receiver, SECRET) == webhooks.Registered(created=True, problem="")
    assert webhooks.register(receiver, SECRET) == webhooks.Registered(created=False, problem="")
    assert len(client.list_webhooks()) == 1

    failed = GateReport((*PASSED.gates, Gate("parity", False, 0.1, 1e-4, "differs by 0.1")))
    version = register_candidate(client, failed)
    wait_until(lambda: len(chat.messages) == 1, "the message of failed gates")
    assert chat.titles == [f"ranzcr-clip: candidate {version} failed its gates"]

    version = register_candidate(client, PASSED)
    promote_by_hand(client, version)
    wait_until(lambda: len(chat.messages) == 2, "the message of the promotion")
    assert chat.titles[-1] == f"ranzcr-clip: candidate {version} promoted"


def test_a_webhook_with_another_secret_is_refused(client, chat, receiver):
    done = webhooks.register(receiver, "another secret")
    assert done.problem == "answer 401"
    assert chat.messages == []


def test_the_command_registers_and_says_what_did_not_arrive(mlflow, chat, receiver):
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": mlflow.uri,
        "RANZCR_WEBHOOK_SECRET": SECRET,
    }

    def register(url):
        return subprocess.run(
            [RANZCR, "notify", "register", url], env=environment, capture_output=True, text=True
        )

    assert register(receiver).returncode == 0
    away = register("http://127.0.0.1:9/")
    assert away.returncode == 2
    assert "its test did not arrive" in away.stdout
    assert SECRET not in away.stdout + away.stderr


def test_a_server_that_will_not_or_cannot_is_one_line(tmp_path, monkeypatch):
    with MlflowServer(tmp_path) as strict:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", strict.uri)
        with pytest.raises(TrackingError, match=r"Allowed schemes are: https") as refused:
            webhooks.register("http://127.0.0.1:9/", SECRET)
        assert "\n" not in str(refused.value)

        # Where its settings name no key, MLflow makes one at each start; this process has another.
        monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
        MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").create_webhook(
            "other", "https://127.0.0.1/", ["model_version.created"], secret=SECRET
        )
        with pytest.raises(TrackingError, match="MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY of the time"):
            webhooks.register("http://127.0.0.1:9/", SECRET)
