"""Real servers for the tests marked `service`; each starts once per session, on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import docker_host
import postgres
import pytest
import swift
from docker_host import DockerHost
from mlflow_servers import Account, MlflowServer, account, become
from proxy import LossyProxy

REPOSITORY = Path(__file__).parent.parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.service)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Report a skipped test as failed if the services are required, as in CI."""
    report = yield
    if report.skipped and os.environ.get("RANZCR_SERVICES") == "required":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but RANZCR_SERVICES=required"
    return report


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment that points boto3 at a real object store with an empty bucket."""
    binaries = swift.install(REPOSITORY / ".venv-swift")
    with swift.serving(binaries, tmp_path_factory.mktemp("swift")) as endpoint:
        environment = {
            "AWS_ENDPOINT_URL_S3": endpoint,
            "MLFLOW_S3_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": swift.KEY,
            "AWS_SECRET_ACCESS_KEY": swift.SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        swift.client(environment).create_bucket(Bucket=swift.BUCKET)
        yield environment


@pytest.fixture(scope="session")
def mlflow_server(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real `mlflow server` that serves its artifacts from S3; return its URI."""
    folder = tmp_path_factory.mktemp("mlflow")
    destination = f"s3://{swift.BUCKET}/artifacts"
    with MlflowServer(folder, artifacts=destination, environment=s3) as server:
        yield server.uri


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Cluster]:
    """An empty PostgreSQL, shared by all tests."""
    yield from _postgresql()


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL for the tests of one file, which may stop it."""
    yield from _postgresql()


def _postgresql() -> Iterator[postgres.Cluster]:
    binaries = postgres.binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (/usr/lib/postgresql/*/bin); apt install it")
    with postgres.serving(binaries) as running:
        yield running


@pytest.fixture(scope="module")
def private_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server for the tests of one file, which may kill it and start it again."""
    with MlflowServer(tmp_path_factory.mktemp("private")) as server:
        yield server


@pytest.fixture
def lossy_proxy(
    private_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LossyProxy]:
    """Put a proxy that can drop answers between ranzcr and `private_server`."""
    with LossyProxy(private_server.port).serving() as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        yield proxy


@pytest.fixture(scope="session")
def guarded_server(
    s3: dict[str, str], postgresql: postgres.Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    """Run a real `mlflow server` as a team does: PostgreSQL, S3, basic-auth, two workers.

    Clients need an account; at first there is only `admin`.
    """
    server = MlflowServer(
        tmp_path_factory.mktemp("guarded"),
        backend=postgresql.database("mlflow"),
        artifacts=f"s3://{swift.BUCKET}/guarded",
        auth_database=postgresql.database("mlflow_auth"),
        options=("--workers", "2", "--allowed-hosts", "mlflow,mlflow:*,127.0.0.1:*"),
        environment=s3,
    )
    with server:
        yield server


@pytest.fixture(scope="session")
def team(
    guarded_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Account]:
    """Return accounts on `guarded_server` by role: viewer, trainer, approver, admin."""
    from ranzcr.registry import role_setup

    accounts = {role: account(f"the-{role}") for role in ("viewer", "trainer", "approver")}
    file = tmp_path_factory.mktemp("team") / "roles.yaml"
    lines = [
        f"  {user.name}: {{role: {role}, password_file: {role}}}" for role, user in accounts.items()
    ]
    file.write_text("\n".join(["users:", *lines]))
    for role, user in accounts.items():
        (file.parent / role).write_text(user.password)
    with pytest.MonkeyPatch.context() as patch:
        become(guarded_server, guarded_server.admin, patch)
        role_setup.set_up(file, print)
    return {**accounts, "admin": guarded_server.admin}


@pytest.fixture(scope="session")
def host() -> Iterator[DockerHost]:
    """Run a Docker daemon for these tests only."""
    if problem := docker_host.missing():
        pytest.skip(problem)
    with docker_host.serving() as host:
        yield host


@pytest.fixture(scope="session")
def images(host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Build the project's images from this tree; return their tags by name."""
    with docker_host.pip_configuration(tmp_path_factory.mktemp("index")) as pip_conf:
        return host.build(pip_conf)
