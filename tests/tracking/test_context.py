"""The runs of an experiment: keys, names, tags, states."""

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ranzcr import config
from ranzcr.errors import TrackingError
from ranzcr.tracking import context, outbox, server
from ranzcr.tracking.names import Tag

DIGEST = "d" * 64
LABELS = ["ETT - Abnormal", "CVC - Normal"]


@pytest.fixture
def experiment():
    return config.load("kdb3v3_b71_001", ["training.seed=7"])


def fold_run(experiment, fold=0, **more):
    return context.fold_run(experiment, dataset_digest=DIGEST, fold=fold, labels=LABELS, **more)


def broken_fold(experiment, error):
    """Log one epoch in a fold's run, then raise `error`; return the run's id."""
    run_id = ""

    def train():
        nonlocal run_id
        with fold_run(experiment) as run:
            run_id = run.run_id
            run.log_epoch(0, {"loss": 1.0})
            raise error

    with pytest.raises(error):
        train()
    return run_id


def all_runs(client):
    return client.search_runs([server.experiment_id(client)])


def root_of(client, run_id):
    return client.get_run(client.get_run(run_id).data.tags[Tag.PARENT_RUN])


def test_folds_are_below_the_run_of_their_experiment(journal, experiment):
    with fold_run(experiment, 0) as first:
        pass
    with fold_run(experiment, 1) as second:
        pass
    assert len(all_runs(journal)) == 3
    root = root_of(journal, first.run_id)
    assert root.info.run_id == root_of(journal, second.run_id).info.run_id
    assert root.info.run_name == "kdb3v3_b71_001"
    assert journal.get_run(second.run_id).info.run_name == "kdb3v3_b71_001 fold 1"
    assert (root.data.tags["folds"], root.info.status) == ("2", "FINISHED")


def test_a_fold_has_tags_params_and_its_data_set(journal, experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("RANZCR_AUTHOR", "Ada")
    monkeypatch.setenv("RANZCR_IMAGE", "sha256:1234")
    monkeypatch.setenv("KFP_RUN_ID", "kfp-1")
    with fold_run(experiment, 2, dataset_path=tmp_path) as run:
        pass
    stored = journal.get_run(run.run_id)
    tags = stored.data.tags
    assert (tags["kind"], tags["stage"], tags["fold"], tags["seed"]) == ("fold", "train", "2", "7")
    assert (tags["author"], tags["image_digest"], tags["kfp_run_id"]) == (
        "Ada",
        "sha256:1234",
        "kfp-1",
    )
    assert (tags["teachers"], tags["parent"]) == ("b7v3_001", "b7v3_001")
    assert tags["dataset_digest"] == DIGEST
    params = stored.data.params
    assert params["cfg.data.batch_size"] == "8"
    assert params["cfg.training.recipe.cooldown.lr"] == "5e-06"
    assert params["config_hash"] == experiment.config_hash
    assert all(name.startswith("cfg.") or name == "config_hash" for name in params)
    used = stored.inputs.dataset_inputs[0].dataset
    assert used.digest == DIGEST[:36]
    assert tmp_path.as_uri() in used.source


def test_a_retried_fold_continues_in_its_run(journal, experiment):
    failed = broken_fold(experiment, RuntimeError)
    assert journal.get_run(failed).info.status == "FAILED"
    assert root_of(journal, failed).info.status == "FAILED"
    with fold_run(experiment) as again:
        assert journal.get_run(again.run_id).info.status == "RUNNING"
        again.log_epoch(1, {"loss": 0.5})
    assert again.run_id == failed
    assert [m.value for m in journal.get_metric_history(again.run_id, "loss")] == [1.0, 0.5]
    assert root_of(journal, failed).info.status == "FINISHED"


def test_an_interrupted_fold_is_killed_not_failed(journal, experiment):
    run_id = broken_fold(experiment, KeyboardInterrupt)
    assert journal.get_run(run_id).info.status == "KILLED"


def test_other_data_settings_or_soft_labels_make_another_row(journal, experiment):
    other = config.load("kdb3v3_b71_001", ["training.seed=8"])
    with fold_run(experiment) as one, fold_run(other) as two:
        pass
    with fold_run(experiment, soft_labels="s" * 64) as three:
        pass
    roots = {root_of(journal, run.run_id).info.run_id for run in (one, two, three)}
    assert len(roots) == 3


def test_the_code_version_is_part_of_a_folds_key(journal, experiment, monkeypatch):
    with fold_run(experiment) as old:
        pass
    monkeypatch.setenv("RANZCR_CODE", "v2")
    with fold_run(experiment) as new:
        pass
    assert new.run_id != old.run_id


def test_cv_is_written_on_the_row_of_the_experiment(journal, experiment):
    with fold_run(experiment) as fold:
        pass
    with context.single_run_of(fold.run_id) as run:
        run.log_metrics({"cv_auc": 0.9, "auc/ETT - Abnormal": 0.8, "auc/CVC - Normal": None})
    assert run.run_id == root_of(journal, fold.run_id).info.run_id
    stored = journal.get_run(run.run_id)
    assert stored.data.metrics == {"cv_auc": 0.9, "auc/ETT - Abnormal": 0.8}
    assert (stored.data.tags["kind"], stored.data.tags["stage"]) == ("single", "evaluate")


def test_the_row_has_the_data_set_and_the_experiment(journal, experiment):
    with fold_run(experiment) as fold:
        pass
    root = root_of(journal, fold.run_id)
    (used,) = root.inputs.dataset_inputs
    assert DIGEST.startswith(used.dataset.digest)
    assert [file.path for file in journal.list_artifacts(root.info.run_id)] == ["experiment.yaml"]


def test_a_deleted_row_is_created_again_from_a_fold(journal, experiment):
    with fold_run(experiment) as fold:
        pass
    journal.delete_run(root_of(journal, fold.run_id).info.run_id)
    with context.single_run_of(fold.run_id) as run:
        pass
    stored = journal.get_run(run.run_id)
    assert stored.info.run_name == "kdb3v3_b71_001"
    assert stored.data.params["cfg.data.batch_size"] == "8"
    assert "fold" not in stored.data.tags


def test_an_unknown_fold_run_is_one_line(journal):
    with pytest.raises(TrackingError, match="not found"), context.single_run_of("0" * 32):
        pass


def test_gpu_hours_of_the_folds_are_summed(journal, experiment):
    for fold in (0, 1):
        with fold_run(experiment, fold) as run:
            run.log_metrics({"gpu_hours": 1.5})
    assert root_of(journal, run.run_id).data.metrics["gpu_hours"] == 3.0


def test_the_run_of_kfps_plugin_is_named_and_tagged(journal, experiment, monkeypatch):
    task = journal.create_run(server.experiment_id(journal), run_name="iteration-0")
    journal.log_param(task.info.run_id, "fold", "an input that the launcher logged")
    monkeypatch.setenv("MLFLOW_RUN_ID", task.info.run_id)
    with fold_run(experiment, 3) as run:
        assert "MLFLOW_RUN_ID" not in server.os.environ
    assert run.run_id == task.info.run_id
    assert len(all_runs(journal)) == 1
    stored = journal.get_run(run.run_id)
    assert (stored.info.run_name, stored.data.tags["fold"]) == ("kdb3v3_b71_001 fold 3", "3")
    assert stored.info.status == "RUNNING"  # the plugin ends its own runs


def test_folds_in_another_mlflow_experiment_make_a_complete_row(
    journal, experiment, monkeypatch, tmp_path
):
    elsewhere = journal.create_experiment("kfp", artifact_location=tmp_path.as_uri())
    for fold in (0, 1):
        task = journal.create_run(elsewhere, run_name="train")
        monkeypatch.setenv("MLFLOW_RUN_ID", task.info.run_id)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", elsewhere)
        with fold_run(experiment, fold) as run:
            run.log_metrics({"gpu_hours": 2.0})
            run.log_text(experiment.to_yaml(), "experiment.yaml")
        journal.set_terminated(task.info.run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", journal.create_run(elsewhere).info.run_id)
    with context.single_run_of(run.run_id) as row:
        pass
    (stored,) = all_runs(journal)
    assert stored.info.run_id == row.run_id
    assert (stored.info.run_name, stored.info.status) == ("kdb3v3_b71_001", "FINISHED")
    assert (stored.data.tags["folds"], stored.data.metrics["gpu_hours"]) == ("2", 4.0)
    assert stored.data.tags[Tag.NOTE] == experiment.about
    assert stored.inputs.dataset_inputs[0].dataset.digest == DIGEST[:36]
    assert [item.path for item in journal.list_artifacts(row.run_id)] == ["experiment.yaml"]


def test_a_second_attempt_of_kfps_task_uses_the_same_run(journal, experiment, monkeypatch):
    task = journal.create_run(server.experiment_id(journal)).info.run_id
    for _ in range(2):
        monkeypatch.setenv("MLFLOW_RUN_ID", task)
        with fold_run(experiment) as run:
            assert (run.run_id, journal.get_run(task).info.status) == (task, "RUNNING")
        journal.set_terminated(task, "FAILED")


def test_members_and_teachers_are_recorded_by_their_rows(journal, experiment):
    with fold_run(experiment) as fold:
        pass
    row = root_of(journal, fold.run_id).info.run_id
    with context.pseudo_run(
        teachers=["a"], dataset_digest=DIGEST, digest="s", counts={}, teacher_runs=[fold.run_id]
    ) as pseudo:
        pass
    with context.ensemble_run(
        {"a": 0.5, "b": 0.5},
        dataset_digest=DIGEST,
        method="mean",
        digest="b",
        member_runs=[row, ""],
    ) as blend:
        pass
    assert journal.get_run(pseudo.run_id).data.tags["teacher_runs"] == row
    assert journal.get_run(blend.run_id).data.tags["member_runs"] == f"{row},"


def test_soft_labels_and_a_blend_are_rows_too(journal):
    with context.pseudo_run(
        teachers=["a", "b"], dataset_digest=DIGEST, digest="s", counts={"train": 10, "test": 4}
    ) as pseudo:
        pass
    weights = {"a": 0.6, "b": 0.4}
    for _ in range(2):
        with context.ensemble_run(
            weights, dataset_digest=DIGEST, method="weights", digest="b"
        ) as blend:
            pass
    assert len(all_runs(journal)) == 2
    assert journal.get_run(pseudo.run_id).data.metrics == {"rows/train": 10, "rows/test": 4}
    stored = journal.get_run(blend.run_id)
    assert (stored.info.run_name, stored.data.tags["members"]) == ("a+b", "a,b")


def test_artifacts_are_copied(journal, experiment, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("{}")
    with fold_run(experiment) as run:
        run.log_artifacts(tmp_path / "out")
        run.log_artifacts(tmp_path / "out" / "metrics.json", "single")
    assert [item.path for item in journal.list_artifacts(run.run_id)] == ["metrics.json", "single"]


@pytest.fixture
def away(monkeypatch):
    """A switch: while it is on, MLflow accepts no metric of a run."""
    send, switch = MlflowClient.log_batch, {"on": False}

    def log_batch(self, run_id, metrics=(), **others):
        if switch["on"] and metrics:
            raise MlflowException("database is locked")
        send(self, run_id, metrics, **others)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    monkeypatch.setattr(outbox, "_GRACE", 0)
    return switch


def test_training_goes_on_while_the_server_is_away(journal, experiment, away):
    with fold_run(experiment) as run:
        away["on"] = True
        run.log_epoch(0, {"loss": 3.0})
        run.log_epoch(1, {"loss": 2.0})
        away["on"] = False
        run.log_epoch(2, {"loss": 1.0})
    assert [m.value for m in journal.get_metric_history(run.run_id, "loss")] == [3, 2, 1]


def test_the_next_run_sends_metrics_that_a_server_did_not_answer(journal, experiment, away, capfd):
    with fold_run(experiment) as run:
        away["on"] = True
        run.log_epoch(0, {"loss": 3.0})
    assert journal.get_metric_history(run.run_id, "loss") == []
    assert "wait in" in capfd.readouterr().err
    away["on"] = False
    with fold_run(experiment, 1):
        pass
    stored = journal.get_run(run.run_id)
    assert (stored.data.metrics, stored.info.status) == ({"loss": 3.0}, "FINISHED")


def test_the_error_of_the_work_is_raised_not_the_servers(journal, experiment, away):
    away["on"] = True
    broken_fold(experiment, RuntimeError)


def test_a_data_set_that_two_folds_log_at_the_same_time_is_logged_again(
    journal, experiment, monkeypatch
):
    """The error is the one that MLflow gave two folds that trained at once on a real server."""
    calls = []
    log_inputs = MlflowClient.log_inputs

    def collide_once(self, run_id, datasets):
        calls.append(run_id)
        if len(calls) == 1:
            raise MlflowException("UNIQUE constraint failed: datasets.name, datasets.digest")
        return log_inputs(self, run_id, datasets)

    monkeypatch.setattr(MlflowClient, "log_inputs", collide_once)
    with fold_run(experiment) as fold:
        pass
    assert len(journal.get_run(fold.run_id).inputs.dataset_inputs) == 1
    assert len(root_of(journal, fold.run_id).inputs.dataset_inputs) == 1
