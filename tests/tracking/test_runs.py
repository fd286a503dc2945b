"""Names and values that MLflow takes; one run where several were made."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from ranzcr.tracking import runs, server


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_label_gives_a_name_that_mlflow_takes(label):
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


def test_settings_are_flat_and_phases_go_by_name():
    nested = {"tta": "flip", "model": {"dropout": 0.5}, "recipe": [{"name": "warm", "lr": 1e-4}]}
    assert runs.flatten(nested, "cfg") == {
        "cfg.tta": "flip",
        "cfg.model.dropout": 0.5,
        "cfg.recipe.warm.lr": 1e-4,
    }


def test_long_values_are_cut_and_many_are_sent_in_batches(journal):
    params = {f"cfg.p{index}": "x" * 7000 for index in range(150)}
    run = runs.find_or_create(journal, "key", "name", {"kind": "single", "a": "y" * 9000}, params)
    stored = journal.get_run(run.run_id).data
    assert len(stored.params) == 150
    assert len(stored.params["cfg.p0"]) == 6000
    assert len(stored.tags["a"]) == 8000


def test_of_two_runs_made_at_once_the_earliest_stays(journal, monkeypatch):
    """The other process makes its run between our search and our own creation."""
    place = server.experiment_id(journal)
    search, rivals = runs.find, []

    def search_then_lose(client, key):
        found = search(client, key)
        if not rivals:
            rival = client.create_run(place, start_time=1, tags={runs.KEY: key})
            rivals.append(rival.info.run_id)
        return found

    monkeypatch.setattr(runs, "find", search_then_lose)
    run = runs.find_or_create(journal, "key", "name", {"kind": "single"}, {})
    assert [run.run_id] == rivals
    assert [left.info.run_id for left in journal.search_runs([place])] == rivals


def test_thousands_of_metrics_are_sent_at_once(journal):
    run = runs.find_or_create(journal, "key", "name", {"kind": "single"}, {})
    run.log_metrics({f"auc/{index}": 0.5 for index in range(2500)})
    assert len(journal.get_run(run.run_id).data.metrics) == 2500
