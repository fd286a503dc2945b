"""Each alert fires when it should and not before, according to Prometheus' promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from manifests import find, needs_kubectl, render

pytestmark = [
    needs_kubectl,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="apt install prometheus"),
]

MLFLOW = 'namespace="ranzcr", deployment="mlflow"'
BACKUP = 'namespace="ranzcr", cronjob="mlflow-backup"'
JOB = 'namespace="ranzcr", job_name="mlflow-backup-1"'
POD = 'namespace="ranzcr", pod="train-1"'
VOLUME = 'namespace="ranzcr", persistentvolumeclaim="ranzcr-work"'
REQUESTS = "mlflow_http_request_total"
DAY = 24 * 60

# alert, series with one value a minute, last minute without the alert, first minute with it
FIRES = [
    ("MlflowDown", {f"kube_deployment_status_replicas_available{{{MLFLOW}}}": "0x60"}, 1, 3),
    ("MlflowDown", {}, 1, 3),  # its metric is missing as well
    (
        "MlflowDegraded",
        {
            f"kube_deployment_status_replicas_available{{{MLFLOW}}}": "1x60",
            f"kube_deployment_spec_replicas{{{MLFLOW}}}": "2x60",
        },
        14,
        16,
    ),
    (
        "MlflowErrors",
        {
            f'{REQUESTS}{{namespace="ranzcr", status="200"}}': "0+90x60",
            f'{REQUESTS}{{namespace="ranzcr", status="503"}}': "0+10x60",
        },
        10,
        15,
    ),
    (
        "MlflowBackupTooOld",
        {f"kube_cronjob_status_last_successful_time{{{BACKUP}}}": f"0x{2 * DAY}"},
        DAY,
        DAY + 121,
    ),
    ("MlflowBackupTooOld", {f"kube_cronjob_created{{{BACKUP}}}": f"0x{2 * DAY}"}, DAY, DAY + 121),
    ("MlflowJobFailed", {f"kube_job_status_failed{{{JOB}}}": "0x5 1x60"}, 4, 7),
    (
        "RunPodPending",
        {f'kube_pod_status_phase{{{POD}, phase="Pending"}}': "1x120"},
        59,
        61,
    ),
    (
        "QueueInadmissible",
        {
            'kueue_pending_workloads{cluster_queue="ranzcr-gpu", status="inadmissible"}': "3x240",
        },
        119,
        121,
    ),
    (
        "RunOutOfMemory",
        {
            "kube_pod_container_status_last_terminated_reason"
            f'{{{POD}, reason="OOMKilled"}}': "_x5 1x60"
        },
        4,
        7,
    ),
    (
        "VolumeAlmostFull",
        {
            f"kubelet_volume_stats_available_bytes{{{VOLUME}}}": "9x60",
            f"kubelet_volume_stats_capacity_bytes{{{VOLUME}}}": "100x60",
        },
        14,
        16,
    ),
    (
        "ChampionDown",
        {
            "kube_deployment_status_replicas_available"
            '{namespace="ranzcr", deployment="ranzcr-clip-predictor"}': "0x60"
        },
        4,
        6,
    ),
]
HEALTHY = {
    f"kube_deployment_status_replicas_available{{{MLFLOW}}}": "2x300",
    f"kube_deployment_spec_replicas{{{MLFLOW}}}": "2x300",
    'kube_deployment_status_replicas_available{namespace="ranzcr", '
    'deployment="ranzcr-clip-predictor"}': "2x300",
    f'{REQUESTS}{{namespace="ranzcr", status="200"}}': "0+90x300",
    f'{REQUESTS}{{namespace="ranzcr", status="503"}}': "0+1x300",
    f"kube_cronjob_status_last_successful_time{{{BACKUP}}}": "0x300",
    f"kube_job_status_failed{{{JOB}}}": "0x300",
    f'kube_pod_status_phase{{{POD}, phase="Pending"}}': "1x30 0x270",
    f"kubelet_volume_stats_available_bytes{{{VOLUME}}}": "50x300",
    f"kubelet_volume_stats_capacity_bytes{{{VOLUME}}}": "100x300",
}


@pytest.fixture
def rules(tmp_path):
    """Write the rules of an overlay as a file for Prometheus."""
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(find(render("gke"), "PrometheusRule/ranzcr")["spec"]))
    return file


def firing(alert: str, minute: int, count: int) -> dict[str, object]:
    """Expect `count` alerts of a name to fire at a minute; "" counts all alerts."""
    condition = f'alertname="{alert}", ' if alert else ""
    samples = [{"labels": "{}", "value": count}] if count else []
    return {
        "expr": f'count(ALERTS{{{condition}alertstate="firing"}})',
        "eval_time": f"{minute}m",
        "exp_samples": samples,
    }


def promtool(rules: Path, series: dict[str, str], *expected: dict[str, object]) -> str:
    """Return promtool's report of what differs from `expected`, or an empty string."""
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": list(expected),
    }
    file = rules.with_name("test.yaml")
    file.write_text(yaml.safe_dump({"rule_files": [rules.name], "tests": [test]}))
    result = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stdout + result.stderr


def test_prometheus_accepts_the_rules(rules):
    subprocess.run(["promtool", "check", "rules", rules], check=True, capture_output=True)


@pytest.mark.parametrize(("alert", "series", "quiet", "fires"), FIRES)
def test_an_alert_fires_in_time(rules, alert, series, quiet, fires):
    assert not promtool(rules, series, firing(alert, quiet, 0), firing(alert, fires, 1))


def test_every_alert_has_a_case(rules):
    groups = yaml.safe_load(rules.read_text())["groups"]
    names = {rule["alert"] for group in groups for rule in group["rules"]}
    assert names == {alert for alert, *_ in FIRES}


def test_no_alert_fires_on_a_healthy_platform(rules):
    assert not promtool(rules, HEALTHY, firing("", 295, 0))


def test_champion_down_stays_quiet_without_a_served_champion(rules):
    assert not promtool(rules, {}, firing("ChampionDown", 60, 0))


def test_a_wrong_expectation_is_reported(rules):
    assert "got: nil" in promtool(rules, HEALTHY, firing("MlflowDown", 295, 1))
