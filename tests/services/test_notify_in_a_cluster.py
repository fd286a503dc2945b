"""The CronJob of the manifests, run as by a kubelet, posts the events of a real server."""

from __future__ import annotations

import pytest
from chat import running_chat
from kubelet import Kubelet
from manifests import needs_kubectl, pods_of, render
from mlflow_servers import MlflowServer

from ranzcr.tracking import context

pytestmark = needs_kubectl


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    with MlflowServer(tmp_path) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        yield server


def test_the_cron_job_posts_a_scored_run_once(mlflow, tmp_path):
    objects = render("gke")
    pods = pods_of(objects, "CronJob/notify")
    with running_chat() as chat:
        kubelet = Kubelet(
            objects,
            {"viewer-mlflow": {}, "ranzcr-chat": {"RANZCR_WEBHOOK_URL": chat.url}},
            tmp_path / "volumes",
            replacements={},
            variables={"MLFLOW_TRACKING_URI": mlflow.uri},
            path=tmp_path,
        )

        def poll():
            return kubelet.run(pods, "poll").stdout

        assert poll() == "0 events sent\n"
        settings = {"dataset_digest": "d" * 64, "method": "weights", "digest": "b"}
        with context.ensemble_run({"a": 0.5, "b": 0.5}, **settings) as run:
            run.log_metrics({"cv_auc": 0.9})
        assert poll() == "1 events sent\n"
        assert poll() == "0 events sent\n"
        assert chat.titles == ["ensemble a+b: CV 0.9000"]
