"""Names and values that MLflow accepts; one run although two processes created it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric_name

from ranzcr.documents import Scores
from ranzcr.tracking import runs, server
from ranzcr.tracking.names import Tag


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_label_gives_a_name_that_mlflow_accepts(label):
    _validate_metric_name(runs.safe_name(f"auc/{label}"))


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("auc/ETT - Abnormal", "auc/ETT - Abnormal"),
        ("auc/Größe (mm)", "auc/Größe _mm_"),
        ("auc/a//b/../c", "auc/a/_/b/c"),
    ],
)
def test_names_stay_readable(label, name):
    assert runs.safe_name(label) == name


def test_long_values_are_cut_and_many_are_sent_in_batches(journal):
    params = {f"cfg.p{index}": "x" * 7000 for index in range(150)}
    run = runs.find_or_create(journal, "key", "name", {"kind": "single", "a": "y" * 9000}, params)
    run.flush()
    stored = journal.get_run(run.run_id).data
    assert len(stored.params) == 150
    assert len(stored.params["cfg.p0"]) == 6000
    assert len(stored.tags["a"]) == 8000


def test_scores_are_the_journals_metrics(journal):
    scores = Scores(cv_auc=0.8, cv_auc_lo=None, cv_auc_hi=0.9, auc={"CVC": 0.7})
    run = runs.find_or_create(journal, "key", "name", {}, {})
    run.log_scores(scores)
    run.flush()
    metrics = journal.get_run(run.run_id).data.metrics
    assert metrics == {"cv_auc": 0.8, "cv_auc_hi": 0.9, "auc/CVC": 0.7}


@pytest.fixture
def rival(journal, monkeypatch):
    """Let another process create the same run after our search; return the ids of its runs."""
    place = server.experiment_id(journal)
    search, rivals = runs.find, []

    def search_then_lose(client, key):
        existing = search(client, key)
        if not rivals:
            run = client.create_run(place, start_time=1, tags={Tag.RUN_KEY: key, "kind": "single"})
            rivals.append(run.info.run_id)
        return existing

    monkeypatch.setattr(runs, "find", search_then_lose)
    return rivals


def test_of_two_runs_with_one_key_the_earlier_stays(journal, rival):
    run = runs.find_or_create(journal, "key", "name", {"kind": "single"}, {})
    assert [run.run_id] == rival
    left = journal.search_runs([server.experiment_id(journal)])
    assert [run.info.run_id for run in left] == rival


def test_a_second_run_that_may_not_be_deleted_is_hidden(journal, rival, monkeypatch):
    def refuse(self, run_id):
        raise MlflowException("Permission denied")

    monkeypatch.setattr(MlflowClient, "delete_run", refuse)
    run = runs.find_or_create(journal, "key", "name", {"kind": "single"}, {})
    assert [run.run_id] == rival
    rows = journal.search_runs([server.experiment_id(journal)], "tags.kind = 'single'")
    assert [row.info.run_id for row in rows] == rival


def test_thousands_of_metrics_are_sent_at_once(journal):
    run = runs.find_or_create(journal, "key", "name", {"kind": "single"}, {})
    run.log_metrics({f"auc/{index}": 0.5 for index in range(2500)})
    run.flush()
    assert len(journal.get_run(run.run_id).data.metrics) == 2500
