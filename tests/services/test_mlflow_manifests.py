"""The rendered MLflow on a real PostgreSQL and S3: the hosts it admits, and its readiness."""

from __future__ import annotations

import base64
import re
import subprocess
import urllib.error
import urllib.request
from dataclasses import replace

import mlflow_pods
import postgres
import pytest
from manifests import OVERLAYS, needs_kubectl, pods_of, render
from processes import end, free_ports, start, wait_until

METRICS_HOST = "10-1-2-3.ranzcr.pod.cluster.local:5000"
ADMITTED = [
    *("mlflow:5000", "mlflow.ranzcr:5000", "mlflow.ranzcr.svc:5000"),
    *("mlflow.ranzcr.svc.cluster.local:5000", "localhost:5000", METRICS_HOST),
]
REFUSED = [
    *("mlflow.evil.example", "mlflow.evil.example:5000", "mlflow.ranzcr.svc.evil.example:5000"),
    *("evil.example:5000", "mlflow:5000.evil.example", "mlflow.ranzcr.svc.cluster.local.evil:5000"),
    *("10.1.2.3:5000", "ranzcr.pod.cluster.local:5000", "x.ranzcr.pod.cluster.local.evil:5000"),
]
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"

pytestmark = needs_kubectl


@pytest.fixture(scope="module")
def pods():
    return pods_of(render("eks"), "Deployment/mlflow")


@pytest.fixture(scope="module")
def kubelet(cluster, s3, tmp_path_factory):
    """Return a kubelet for the overlay's pods, after the migration."""
    root = tmp_path_factory.mktemp("kubelet")
    return mlflow_pods.migrated(render("eks"), mlflow_pods.databases(cluster), s3, root)


@pytest.fixture(scope="module")
def server(kubelet, pods, tmp_path_factory):
    """Run the rendered server; return its URL."""
    kubelet.run(pods, "wait-for-schema")
    command, environment = kubelet.prepare(pods, pods.container("mlflow"))
    log = tmp_path_factory.mktemp("mlflow") / "server.log"
    process = start(command, log, environment)
    url = kubelet.replacements["http://127.0.0.1:5000"]
    try:
        wait_until(lambda: process.poll() is not None or status(url, "/health") == 200, str(log))
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        end(process)


def request(url, path, host=None, password=None):
    result = urllib.request.Request(url + path, headers={"Host": host} if host else {})
    if password:
        account = base64.b64encode(f"admin:{password}".encode()).decode()
        result.add_header("Authorization", f"Basic {account}")
    return result


def status(url, path, host=None, password=None):
    """Return the HTTP status of an answer, or 0 if there is none."""
    try:
        return urllib.request.urlopen(request(url, path, host, password), timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_a_server_waits_for_its_tables(pods, s3, tmp_path):
    with postgres.serving(postgres.binaries()) as empty:
        database = mlflow_pods.databases(empty)
        kubelet = mlflow_pods.kubelet(render("eks"), database, s3, tmp_path)
        command, environment = kubelet.prepare(pods, pods.container("wait-for-schema"))
        waiting = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert waiting.stdout.readline() == "mlflow: no tables; see mlflow-migrate\n"
        for name, table in (("mlflow", "alembic_version"), ("mlflow_auth", "alembic_version_auth")):
            sql = ["psql", "--quiet", "--dbname", name, "--command", f"CREATE TABLE {table} ()"]
            subprocess.run(sql, env=environment, check=True)
        assert waiting.wait(90) == 0


def test_the_migration_can_run_again(kubelet):
    migrate = pods_of(render("eks"), "Job/mlflow-migrate")
    command, environment = kubelet.prepare(migrate, migrate.container("migrate"))
    assert subprocess.run(command, env=environment).returncode == 0


@pytest.mark.parametrize("host", ADMITTED)
def test_each_host_name_of_the_service_is_admitted(host, server):
    assert status(server, SEARCH, host, mlflow_pods.PASSWORD) == 200


@pytest.mark.parametrize("host", REFUSED)
def test_a_foreign_host_name_is_refused(host, server):
    assert status(server, SEARCH, host, mlflow_pods.PASSWORD) == 403


def test_the_overlays_admit_the_same_names():
    maps = [thing.get("data", {}) for overlay in OVERLAYS for thing in render(overlay)]
    hosts = [data["ALLOWED_HOSTS"] for data in maps if "ALLOWED_HOSTS" in data]
    assert len(hosts) == len(OVERLAYS)
    assert len(set(hosts)) == 1


def test_a_request_without_an_account_is_refused(server):
    assert status(server, SEARCH, "mlflow:5000") == 401


def test_prometheus_reads_metrics_under_the_name_of_a_pod(server):
    scrape = request(server, "/metrics", METRICS_HOST, mlflow_pods.PASSWORD)
    metrics = urllib.request.urlopen(scrape, timeout=30).read().decode()
    # The alert MlflowErrors reads this metric.
    assert re.search(r'(?m)^mlflow_http_request_total\{.*status="200"', metrics)
    assert status(server, "/metrics", METRICS_HOST) == 401


def readiness(kubelet, pods, **replacements):
    """Return "ready", or the error of the readiness probe."""
    changed = replace(kubelet, replacements={**kubelet.replacements, **replacements})
    result = changed.probe(pods, "mlflow", "readinessProbe")
    assert (result.returncode == 0) == (result.stderr == "")
    return result.stderr or "ready"


def test_a_sound_server_is_ready(kubelet, pods, server):
    assert readiness(kubelet, pods) == "ready"


def test_a_server_that_refuses_its_own_name_is_not_ready(kubelet, pods, server):
    error = readiness(kubelet, pods, **{"mlflow.ranzcr.svc": "mlflow.other.svc"})
    assert error == "mlflow.other.svc.cluster.local:5000: HTTP Error 403: Forbidden\n"
    assert status(server, "/health", "mlflow.other.svc.cluster.local:5000") == 200


def test_a_server_that_does_not_know_the_admin_is_not_ready(kubelet, pods, server):
    other = {**kubelet.secrets, "mlflow-server": {"MLFLOW_AUTH_ADMIN_PASSWORD": "another one"}}
    assert "401" in readiness(replace(kubelet, secrets=other), pods)


def test_a_server_that_is_away_is_not_ready(kubelet, pods):
    (free,) = free_ports(1)
    error = readiness(kubelet, pods, **{"http://127.0.0.1:5000": f"http://127.0.0.1:{free}"})
    assert "Connection refused" in error


def test_a_server_without_its_database_is_alive_and_not_ready(kubelet, pods, server, cluster):
    cluster.stop()
    assert re.search("HTTP Error 50|timed out", readiness(kubelet, pods))
    assert status(server, "/health") == 200
    cluster.start()
    wait_until(lambda: readiness(kubelet, pods) == "ready", "readiness after the database is back")
