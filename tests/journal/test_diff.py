"""Two runs side by side."""

import dataclasses

import numpy as np
import pytest
from journal_fixtures import filling
from typer.testing import CliRunner

from ranzcr import cli, config
from ranzcr.data.dataset import Dataset
from ranzcr.errors import ConfigError, TrackingError
from ranzcr.journal import diff, rows
from ranzcr.labels import UID
from ranzcr.predictions import Origin, Predictions
from ranzcr.tracking import context


def out_of_fold(dataset, skill):
    """Predictions of the train rows; the higher `skill`, the higher the AUC."""
    train = dataset.rows("train")
    noise = np.random.default_rng(0).random((len(train), len(dataset.schema)))
    values = (skill * np.maximum(dataset.targets(train), 0) + noise) / (1 + skill)
    origin = Origin(experiment="x", dataset_digest=dataset.digest)
    uids = dataset.table[UID].to_numpy()[train]
    return Predictions(uids, values.astype(np.float32), dataset.schema, origin)


def single(name, digest, metrics, oof=None, teachers=(), folder=None):
    """One trained fold of a packaged experiment, evaluated; `oof` is the file that it keeps."""
    experiment = config.load(name)
    of_fold = {"fold": 0, "labels": ["A"], "teachers": teachers, "dataset_path": folder}
    with context.fold_run(experiment, dataset_digest=digest, **of_fold) as fold:
        pass
    with context.single_run_of(fold.run_id) as run:
        run.log_metrics(metrics)
        if oof is not None:
            run.log_artifacts(oof)
    return run.run_id


def ensemble(members, digest, metrics, folder=None):
    weights = {member: 1 / len(members) for member in members}
    options = {"dataset_digest": digest, "method": "weights", "digest": "x"}
    with context.ensemble_run(weights, **options) as run:
        run.log_metrics(metrics)
        if folder is not None:
            run.log_artifacts(folder, "blend")
    return run.run_id


def pair(opened, tmp_path, folder=None):
    """smoke_a, which guesses, and smoke_b, which is nearly always right."""
    scores = {"smoke_a": (0.0, 0.5, 0.6), "smoke_b": (5.0, 0.9, 0.55)}
    for name, (skill, macro, ett) in scores.items():
        file = tmp_path / name / "oof.parquet"
        out_of_fold(opened, skill).write(file)
        metrics = {"cv_auc": macro, "cv_auc_lo": macro - 0.1, "cv_auc_hi": macro + 0.05}
        metrics["auc/ETT - Abnormal"] = ett
        single(name, opened.digest, metrics, file, folder=folder)


@pytest.fixture(scope="module")
def _two(tmp_path_factory, migrated, dataset):
    """The database of `two`: writing it takes seconds, so tests copy it."""
    home = tmp_path_factory.mktemp("two")
    with filling(home, migrated) as file:
        pair(Dataset.open(dataset), home)
    return file


@pytest.fixture
def two(journal_copy, dataset, _two):
    """A journal with a `pair` of runs without the path of their data set; returns the data set."""
    journal_copy(_two)
    return Dataset.open(dataset)


def test_only_settings_that_differ_are_shown(two):
    difference = diff.compare("smoke_a", "smoke_b")
    a, b = (
        dict(flat)
        for flat in (config.load(name).model_dump()["model"] for name in ("smoke_a", "smoke_b"))
    )
    shown = {row[0]: row[1:] for row in difference.settings}
    assert {key for key in shown if key.startswith("model.")} == {
        f"model.{key}" for key in a if a[key] != b[key]
    }
    assert all(left != right for left, right in shown.values())
    assert "name" not in shown  # it heads the columns


def test_inputs_and_scores_are_shown_side_by_side(two, monkeypatch):
    monkeypatch.setenv("RANZCR_CODE", "v2")
    student = single("smoke_student", two.digest, {"cv_auc": 0.8}, teachers=["smoke_a"])
    runs = {row[0]: row[1:] for row in diff.compare("smoke_a", student[:8]).runs}
    assert runs["kind"] == ("single", "single")
    assert runs["data"] == (two.digest[:12],) * 2
    assert runs["code"] == ("", "v2")
    assert runs["teachers"] == ("", "smoke_a")
    assert runs["CV [95%]"] == ("0.5000 [0.400, 0.550]", "0.8000")
    assert "members" not in runs  # neither is a blend


def test_label_aucs_end_with_the_difference(two):
    assert diff.compare("smoke_a", "smoke_b").aucs == [
        ("macro", "0.5000", "0.9000", "+0.4000"),
        ("ETT - Abnormal", "0.6000", "0.5500", "-0.0500"),
    ]


def test_a_score_of_only_one_run_has_no_difference(two):
    blend = ensemble(["smoke_a", "smoke_b"], two.digest, {"cv_auc": 0.95})
    difference = diff.compare("smoke_a", blend)
    assert difference.aucs[1] == ("ETT - Abnormal", "0.6000", "", "")
    assert difference.settings == []  # an experiment and a blend have no common settings


def test_soft_labels_have_inputs_but_no_scores(two):
    options = {"dataset_digest": two.digest, "counts": {"train": 3}}
    ids = []
    for teacher in ("smoke_a", "smoke_b"):
        with context.pseudo_run(teachers=[teacher], digest=teacher, **options) as run:
            ids.append(run.run_id)
    difference = diff.compare(*ids, two.path)
    assert ("teachers", "smoke_a", "smoke_b") in difference.runs
    assert difference.aucs == []
    assert "has no out-of-fold predictions" in difference.verdict


def test_without_the_data_set_the_verdict_asks_for_it(two):
    verdict = diff.compare("smoke_a", "smoke_b").verdict
    assert f"Give --data DATASET, the folder of data set {two.digest[:12]}" in verdict


def test_with_the_data_set_the_better_run_is_found_in_either_order(two):
    better = diff.compare("smoke_a", "smoke_b", two.path).verdict
    assert better.startswith("B is better than A with probability 1.000 (paired patient bootstrap")
    worse = diff.compare("smoke_b", "smoke_a", two.path).verdict
    assert worse.startswith("B is better than A with probability 0.000")


def test_each_label_is_tested_too(two):
    aucs = {row[0]: row for row in diff.compare("smoke_a", "smoke_b", two.path).aucs}
    assert aucs["macro"][-1] == "1.000"
    assert (
        aucs["ETT - Abnormal"][-1] == "1.000"
    )  # computed from the predictions, not from the metrics in the journal
    text = diff.render(diff.compare("smoke_a", "smoke_b", two.path))
    assert "B is better" in text


def test_a_data_set_is_opened_at_the_path_in_the_journal(journal, dataset, tmp_path):
    opened = Dataset.open(dataset)
    pair(opened, tmp_path, folder=opened.path)
    assert "probability 1.000" in diff.compare("smoke_a", "smoke_b").verdict
    run_id = ensemble(["smoke_a", "smoke_b"], opened.digest, {"cv_auc": 0.9})
    assert f"Run {run_id[:8]} has no out-of-fold" in diff.compare("smoke_a", run_id).verdict


def test_a_data_set_that_was_moved_must_be_given(journal, dataset, tmp_path):
    pair(Dataset.open(dataset), tmp_path, folder=tmp_path / "gone")
    assert "Give --data DATASET" in diff.compare("smoke_a", "smoke_b").verdict


def test_a_run_is_not_compared_with_itself(two):
    run_id = rows.resolve("smoke_a")
    with pytest.raises(
        ConfigError, match=f"smoke_a and {run_id} are the same run, {run_id[:8]}; name"
    ):
        diff.compare("smoke_a", run_id)


def test_an_ensemble_is_compared_by_its_own_out_of_fold_file(two, tmp_path):
    out_of_fold(two, 5.0).write(tmp_path / "blend" / "oof.parquet")
    run_id = ensemble(["smoke_a", "smoke_b"], two.digest, {"cv_auc": 0.9}, tmp_path / "blend")
    assert "probability 1.000" in diff.compare("smoke_a", "smoke_a+smoke_b", two.path).verdict
    # The same predictions: each replicate is a tie, and a tie counts half.
    assert "probability 0.500" in diff.compare("smoke_b", run_id, two.path).verdict


def test_a_run_without_predictions_is_named(two):
    run_id = ensemble(["smoke_a", "smoke_b"], two.digest, {"cv_auc": 0.9})
    verdict = diff.compare("smoke_a", run_id, two.path).verdict
    assert f"Run {run_id[:8]} has no out-of-fold predictions in the journal" in verdict


def test_runs_of_different_data_sets_are_not_compared(two):
    other = single("smoke_student", "e" * 64, {"cv_auc": 0.9, "auc/ETT - Abnormal": 0.9})
    difference = diff.compare("smoke_a", other, two.path)
    assert difference.aucs == []
    assert difference.verdict == (
        f"A and B use different data sets ({two.digest[:12]} and eeeeeeeeeeee): "
        "scores are not compared."
    )
    assert difference.settings


def test_another_data_set_is_refused(two):
    for name in ("b7v3_001", "b6v3_001"):
        single(name, "e" * 64, {"cv_auc": 0.9})
    with pytest.raises(ConfigError, match="but A and B use eeeeeeeeeeee; give that one"):
        diff.compare("b7v3_001", "b6v3_001", two.path)


def test_an_unknown_run_is_answered_with_the_nearest(two):
    with pytest.raises(TrackingError, match="no run 'smoke_c' in the journal; did you mean smoke_"):
        diff.compare("smoke_a", "smoke_c")


def test_the_text_has_all_tables_and_ends_with_the_verdict(two):
    difference = diff.compare("smoke_a", "smoke_b")
    lines = [line.strip() for line in diff.render(difference).splitlines()]
    assert [line for line in lines if line in ("runs", "settings that differ", "AUC")] == [
        "runs",
        "settings that differ",
        "AUC",
    ]
    assert lines[-1] == difference.verdict
    assert "settings that differ" not in diff.render(dataclasses.replace(difference, settings=[]))


def test_the_command_prints_what_the_functions_return(two):
    run = CliRunner().invoke
    shown = run(cli.app, ["journal", "diff", "smoke_a", "smoke_b", "--data", str(two.path)])
    assert shown.exit_code == 0
    assert "B: smoke_b" in shown.output
    assert "with probability 1.000" in shown.output
    assert run(cli.app, ["journal", "note", "smoke_a", "weak"]).exit_code == 0
    assert run(cli.app, ["journal", "decide", "smoke_a", "drop"]).exit_code == 0
    page = run(cli.app, ["journal", "show", "--format", "html"])
    assert "<td>drop</td>" in page.output
