"""The rendered MLflow on a real PostgreSQL and S3: who is let in, and when it counts as ready."""

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
IMPOSTORS = [
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
    """Runs the overlay's pods; the databases have their schema."""
    root = tmp_path_factory.mktemp("kubelet")
    here = mlflow_pods.kubelet(render("eks"), mlflow_pods.databases(cluster), s3, root)
    here.run(pods_of(render("eks"), "Job/mlflow-migrate"), "migrate")
    return here


@pytest.fixture(scope="module")
def server(kubelet, pods, tmp_path_factory):
    """The URL of the rendered server, running."""
    kubelet.run(pods, "wait-for-schema")
    command, environment = kubelet.prepare(pods, pods.container("mlflow"))
    log = tmp_path_factory.mktemp("mlflow") / "server.log"
    process = start(command, log, environment)
    url = kubelet.elsewhere["http://127.0.0.1:5000"]
    try:
        wait_until(lambda: process.poll() is not None or ask(url, "/health") == 200, str(log))
        assert process.poll() is None, log.read_text()
        yield url
    finally:
        end(process)


def request(url, path, host=None, password=None):
    made = urllib.request.Request(url + path, headers={"Host": host} if host else {})
    if password:
        account = base64.b64encode(f"admin:{password}".encode()).decode()
        made.add_header("Authorization", f"Basic {account}")
    return made


def ask(url, path, host=None, password=None):
    """The status of an answer; 0 where there is none."""
    try:
        return urllib.request.urlopen(request(url, path, host, password), timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_a_server_waits_for_its_tables(pods, s3, tmp_path):
    with postgres.serving(postgres.binaries()) as empty:
        database = mlflow_pods.databases(empty)
        here = mlflow_pods.kubelet(render("eks"), database, s3, tmp_path)
        command, environment = here.prepare(pods, pods.container("wait-for-schema"))
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
def test_a_name_of_the_service_is_let_in(host, server):
    assert ask(server, SEARCH, host, mlflow_pods.PASSWORD) == 200


@pytest.mark.parametrize("host", IMPOSTORS)
def test_an_impostor_is_not(host, server):
    assert ask(server, SEARCH, host, mlflow_pods.PASSWORD) == 403


def test_the_overlays_admit_the_same_names():
    told = [thing.get("data", {}) for overlay in OVERLAYS for thing in render(overlay)]
    hosts = [data["ALLOWED_HOSTS"] for data in told if "ALLOWED_HOSTS" in data]
    assert len(hosts) == len(OVERLAYS)
    assert len(set(hosts)) == 1


def test_nobody_is_let_in_without_an_account(server):
    assert ask(server, SEARCH, "mlflow:5000") == 401


def test_prometheus_gets_metrics_by_the_name_of_a_pod(server):
    asked = request(server, "/metrics", METRICS_HOST, mlflow_pods.PASSWORD)
    told = urllib.request.urlopen(asked, timeout=30).read().decode()
    assert re.search(r'(?m)^mlflow_http_request_total\{.*status="200"', told)  # of an alert
    assert ask(server, "/metrics", METRICS_HOST) == 401


def ready(kubelet, pods, **elsewhere):
    done = replace(kubelet, elsewhere={**kubelet.elsewhere, **elsewhere}).probe(
        pods, "mlflow", "readinessProbe"
    )
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr or "ready"


def test_a_sound_server_is_ready(kubelet, pods, server):
    assert ready(kubelet, pods) == "ready"


def test_a_server_that_refuses_its_own_name_is_not_ready(kubelet, pods, server):
    told = ready(kubelet, pods, **{"mlflow.ranzcr.svc": "mlflow.other.svc"})
    assert told == "mlflow.other.svc.cluster.local:5000: HTTP Error 403: Forbidden\n"
    assert ask(server, "/health", "mlflow.other.svc.cluster.local:5000") == 200


def test_a_server_that_does_not_know_the_admin_is_not_ready(kubelet, pods, server):
    other = {**kubelet.secrets, "mlflow-server": {"MLFLOW_AUTH_ADMIN_PASSWORD": "another one"}}
    assert "401" in ready(replace(kubelet, secrets=other), pods)


def test_a_server_that_is_away_is_not_ready(kubelet, pods):
    (free,) = free_ports(1)
    told = ready(kubelet, pods, **{"http://127.0.0.1:5000": f"http://127.0.0.1:{free}"})
    assert "Connection refused" in told


def test_a_server_that_lost_its_database_lives_and_is_not_ready(kubelet, pods, server, cluster):
    cluster.stop()
    assert "HTTP Error 50" in ready(kubelet, pods) or "timed out" in ready(kubelet, pods)
    assert ask(server, "/health") == 200
    cluster.start()
    wait_until(lambda: ready(kubelet, pods) == "ready", "readiness after the database is back")
