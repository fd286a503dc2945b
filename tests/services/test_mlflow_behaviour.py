"""Behaviour of MLflow that ranzcr relies on, on a server with PostgreSQL and S3.

`ranzcr doctor` checks a deployment. Other files here test resent and late metrics (test_outages),
saved views (test_saved_views) and promotions (test_promotion_on_a_server).
"""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow.entities import Dataset, DatasetInput, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow_servers import become

from ranzcr.tracking import delivery, server
from ranzcr.tracking.names import Kind, Metric, Tag

LEDGER_LINE = "x" * 5000


@pytest.fixture
def client(guarded_server, monkeypatch):
    become(guarded_server, guarded_server.admin, monkeypatch)
    return server.connect()


@pytest.fixture
def experiment(client):
    return client.create_experiment(f"behaviour-{secrets.token_hex(4)}")


@pytest.fixture
def model(client, experiment):
    """A registered model with two versions."""
    name = f"behaviour-{secrets.token_hex(4)}"
    run = client.create_run(experiment)
    client.create_registered_model(name)
    for digest in ("first", "second"):
        tags = {Tag.DIGEST: digest, Tag.GATE: "fail"}
        source = f"{run.info.artifact_uri}/model"
        client.create_model_version(name, source, run.info.run_id, tags=tags)
    return name


def test_long_params_and_tags_are_kept(client, experiment):
    run_id = client.create_run(experiment).info.run_id
    param, tag = "p" * 6000, "t" * delivery.TAG
    client.log_batch(run_id, params=[Param("long", param)], tags=[RunTag("long", tag)])
    data = client.get_run(run_id).data
    assert (data.params["long"], data.tags["long"]) == (param, tag)


def test_runs_are_searched_and_sorted(client, experiment):
    single = client.create_run(experiment, tags={Tag.KIND: Kind.SINGLE}).info.run_id
    client.set_terminated(single, "FINISHED")
    tags = {Tag.PARENT_RUN: single, Tag.KIND: Kind.FOLD}
    fold = client.create_run(experiment, tags=tags).info.run_id
    client.log_metric(single, Metric.CV_AUC, 0.9)  # by default the newest run comes first
    client.log_metric(fold, Metric.CV_AUC, 0.8)
    expected = {
        f"tags.{Tag.KIND} = '{Kind.SINGLE}'": [single],
        f"tags.`{Tag.PARENT_RUN}` = '{single}'": [fold],
        "attributes.status = 'RUNNING'": [fold],
        f"attributes.run_id IN ('{fold}')": [fold],
        f"attributes.run_id LIKE '{fold[:8]}%'": [fold],
        "": [single, fold],
    }
    for condition, ids in expected.items():
        matches = client.search_runs([experiment], condition, order_by=["metrics.cv_auc DESC"])
        assert [run.info.run_id for run in matches] == ids, condition


def test_two_runs_that_start_at_once_both_get_their_data_set(client, experiment):
    dataset = Dataset("ranzcr", secrets.token_hex(16), "code", json.dumps({"uri": "unknown"}))
    ids = [client.create_run(experiment).info.run_id for _ in range(2)]

    def log(run_id):
        try:
            client.log_inputs(run_id, [DatasetInput(dataset, [])])
        except MlflowException:  # both created the data set; ranzcr retries as well
            client.log_inputs(run_id, [DatasetInput(dataset, [])])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(log, ids))
    assert [len(client.get_run(run_id).inputs.dataset_inputs) for run_id in ids] == [1, 1]


def test_versions_come_newest_first_page_by_page(client, model):
    settings = {"max_results": 1, "order_by": ["version_number DESC"]}
    newest = client.search_model_versions(f"name = '{model}'", **settings)
    second = client.search_model_versions(f"name = '{model}'", page_token=newest.token, **settings)
    assert [int(version.version) for version in (*newest, *second)] == [2, 1]
    (first,) = client.search_model_versions(f"name = '{model}' and tags.digest = 'first'")
    assert str(first.version) == "1"


def test_tags_of_versions_are_replaced_and_kept_whole(client, model):
    client.set_model_version_tag(model, "1", Tag.GATE, "pass")
    client.set_model_version_tag(model, "1", "ledger", LEDGER_LINE)
    tags = client.get_model_version(model, "1").tags
    assert (tags[Tag.GATE], tags["ledger"]) == ("pass", LEDGER_LINE)


def test_aliases_are_moved_and_deleted(client, model):
    for version in ("1", "2"):
        client.set_registered_model_alias(model, "champion", version)
        assert str(client.get_model_version_by_alias(model, "champion").version) == version
    client.delete_registered_model_alias(model, "champion")
    with pytest.raises(MlflowException) as error:
        client.get_model_version_by_alias(model, "champion")
    assert error.value.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
