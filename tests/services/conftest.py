"""Real servers for the tests marked `service`; each starts once per session, on loopback."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import swift
from processes import free_ports, running, wait_until

REPOSITORY = Path(__file__).parent.parent.parent
BUCKET = "ranzcr"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.service)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Where the services are required, as in CI, a skipped test has failed."""
    report = yield
    if report.skipped and os.environ.get("RANZCR_SERVICES") == "required":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but RANZCR_SERVICES=required"
    return report


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that points boto3 at a real object store with an empty bucket."""
    import boto3

    binaries = swift.install(REPOSITORY / ".venv-swift")
    with swift.serving(binaries, tmp_path_factory.mktemp("swift")) as endpoint:
        environment = {
            "AWS_ENDPOINT_URL_S3": endpoint,
            "MLFLOW_S3_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": swift.KEY,
            "AWS_SECRET_ACCESS_KEY": swift.SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=swift.KEY,
            aws_secret_access_key=swift.SECRET,
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=BUCKET)
        yield environment


@pytest.fixture(scope="session")
def mlflow_server(s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real `mlflow server` with its artifacts on S3; clients reach both through it."""
    folder = tmp_path_factory.mktemp("mlflow")
    (port,) = free_ports(1)
    uri = f"http://127.0.0.1:{port}"
    command = [
        Path(sys.executable).parent / "mlflow",
        *("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--serve-artifacts"),
        *("--artifacts-destination", f"s3://{BUCKET}/artifacts"),
    ]
    environment = {
        **s3,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # the server starts `python -m uvicorn` from PATH
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with running(command, folder / "server.log", environment):
        wait_until(lambda: _healthy(uri), f"mlflow server; see {folder / 'server.log'}")
        yield uri


def _healthy(uri: str) -> bool:
    try:
        return urllib.request.urlopen(f"{uri}/health", timeout=1).status == 200
    except OSError:
        return False
