from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fold_predictions import write_folds

from ranzcr import predictions
from ranzcr.data.dataset import Dataset
from ranzcr.errors import ConfigError, DataError
from ranzcr.labels import UID
from ranzcr.soft_labels import SoftLabels
from ranzcr.stages import pseudo
from ranzcr.tracking import server

pytestmark = pytest.mark.usefixtures("journal")


@pytest.fixture
def teachers(tmp_path, dataset):
    return write_folds(tmp_path, dataset, "t1", skill=3) + write_folds(
        tmp_path, dataset, "t2", skill=1, seed=1
    )


def test_a_train_row_has_its_own_folds_prediction_and_a_test_row_one_per_fold(
    teachers, dataset, tmp_path
):
    result = pseudo.run(teachers, dataset, tmp_path / "soft")
    prepared = Dataset.open(dataset)
    table = SoftLabels.open(result.path).table
    train = table[(table["split"] == "train") & (table["teacher"] == "t1")]
    assert list(train[UID]) == list(prepared.table[UID].iloc[prepared.rows("train")])
    for fold, folder in enumerate(teachers[:3]):
        labels = list(prepared.schema.names)
        held_out = predictions.read(folder / "oof.parquet")
        own = train[train["fold"] == fold].set_index(UID).loc[held_out.uids, labels]
        np.testing.assert_array_equal(own.to_numpy(), held_out.values)
        test = predictions.read(folder / "test.parquet")
        of_fold = table[
            (table["split"] == "test") & (table["teacher"] == "t1") & (table["fold"] == fold)
        ]
        np.testing.assert_array_equal(of_fold[labels].to_numpy(), test.values)
    assert result.counts == {split: len(prepared.rows(split)) for split in ("train", "test")}


def test_a_student_never_meets_a_prediction_that_its_held_out_rows_taught(
    teachers, dataset, tmp_path
):
    pseudo.run(teachers, dataset, tmp_path / "soft")
    prepared = Dataset.open(dataset)
    for fold in range(3):
        taught = SoftLabels.open(tmp_path / "soft").for_fold(fold)
        held_out = prepared.table.loc[prepared.table["fold"] == fold, UID]
        assert not set(taught[UID]) & set(held_out)


def test_teachers_may_be_chosen(teachers, dataset, tmp_path):
    result = pseudo.run(teachers, dataset, tmp_path / "soft", teachers=["t2"])
    assert SoftLabels.open(result.path).teachers == ("t2",)
    with pytest.raises(ConfigError, match="no predictions of teacher t3; did you mean t"):
        pseudo.run(teachers, dataset, tmp_path / "soft", teachers=["t3"])


def test_a_prediction_of_a_model_that_trained_on_the_row_is_a_leak(teachers, dataset, tmp_path):
    """Folds 0 and 1 swapped: each predicts rows that it was trained on."""
    for folder, fold in ((teachers[0], 1), (teachers[1], 0)):
        part = predictions.read(folder / "oof.parquet")
        replace(part, origin=replace(part.origin, fold=fold)).write(folder / "oof.parquet")
    with pytest.raises(DataError, match=r"model of fold \d predicts .*, on which it was trained"):
        pseudo.run(teachers[:3], dataset, tmp_path / "soft")


def test_predictions_without_a_fold_are_refused(teachers, dataset, tmp_path):
    part = predictions.read(teachers[0] / "oof.parquet")
    replace(part, origin=replace(part.origin, fold=None)).write(teachers[0] / "oof.parquet")
    with pytest.raises(DataError, match="predictions of t1: their fold is not recorded"):
        pseudo.run(teachers[:1], dataset, tmp_path / "soft")


def test_test_predictions_of_every_fold_are_needed(teachers, dataset, tmp_path):
    (teachers[1] / "test.parquet").unlink()
    with pytest.raises(DataError, match=r"teacher t1: no test.parquet of fold 1; predict it"):
        pseudo.run(teachers[:3], dataset, tmp_path / "soft")
    assert not (tmp_path / "soft").exists()


def test_the_soft_labels_are_recorded_in_the_journal(teachers, dataset, tmp_path, journal):
    result = pseudo.run(teachers, dataset, tmp_path / "soft")
    (run,) = journal.search_runs([server.experiment_id(journal)], "tags.kind = 'pseudo'")
    assert run.data.tags["teachers"] == "t1,t2"
    assert run.data.metrics["rows/train"] == result.counts["train"]
