from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ranzcr.ensemble import oof
from ranzcr.errors import DataError
from ranzcr.labels import LabelSchema
from ranzcr.predictions import Origin, Predictions

SCHEMA = LabelSchema(("a", "b"))
UIDS = np.array([f"s{row}" for row in range(6)])
FOLDS = np.array([0, 1, 2, 0, 1, 2])
VALUES = np.linspace(0, 1, 12, dtype=np.float32).reshape(6, 2)


def part(fold: int, rows=None) -> Predictions:
    rows = np.flatnonzero(np.equal(FOLDS, fold))[::-1] if rows is None else np.array(rows)
    origin = Origin(experiment="exp", fold=fold, dataset_digest="d")
    return Predictions(UIDS[rows], VALUES[rows], SCHEMA, origin)


def test_folds_are_assembled_in_the_order_of_the_rows():
    whole = oof.assemble([part(2), part(0), part(1)], UIDS, FOLDS)
    np.testing.assert_array_equal(whole.values, VALUES)
    assert list(whole.uids) == list(UIDS)
    assert whole.origin.fold is None


def test_a_missing_fold_is_named():
    with pytest.raises(DataError, match="experiment exp: fold 1 is missing, found 0, 2; train"):
        oof.assemble([part(0), part(2)], UIDS, FOLDS)


def test_a_fold_given_twice_is_named():
    with pytest.raises(DataError, match="experiment exp: fold 0 is given twice"):
        oof.assemble([part(0), part(1), part(2), part(0)], UIDS, FOLDS)


def test_a_row_that_its_model_trained_on_is_a_leak():
    with pytest.raises(DataError, match="model of fold 0 predicts s1, a row of another fold, "):
        oof.assemble([part(0, [0, 3, 1]), part(1), part(2)], UIDS, FOLDS)


def test_a_missing_row_is_named():
    with pytest.raises(DataError, match=r"1 studies are missing, e\.g\. s3"):
        oof.assemble([part(0, [0]), part(1), part(2)], UIDS, FOLDS)


def test_a_fold_that_the_data_set_lacks():
    alien = replace(part(0), origin=Origin(experiment="exp", fold=7))
    with pytest.raises(DataError, match="fold 7 is not of this data set, which has folds 0 to 2"):
        oof.assemble([part(0), part(1), part(2), alien], UIDS, FOLDS)


def test_the_mean_over_folds_is_aligned_first():
    one = Predictions(UIDS[:2], np.array([[0, 0], [1, 1]], np.float32), SCHEMA)
    other = Predictions(UIDS[[1, 0]], np.array([[0, 0], [1, 1]], np.float32), SCHEMA)
    mean = oof.fold_mean([one, other], UIDS[:2])
    np.testing.assert_array_equal(mean.values, [[0.5, 0.5], [0.5, 0.5]])


def test_the_digest_follows_content_and_not_the_run():
    moved = replace(part(0), origin=replace(part(0).origin, run_id="another"))
    changed = replace(part(0), values=part(0).values + np.float32(1e-3))
    assert oof.content_digest([part(0)]) == oof.content_digest([moved])
    assert oof.content_digest([part(0)]) != oof.content_digest([changed])


def test_folders_files_and_folders_of_folders_are_read(tmp_path):
    part(0).write(tmp_path / "all" / "fold0" / "oof.parquet")
    part(1).write(tmp_path / "all" / "fold1" / "oof.parquet")
    part(2).write(tmp_path / "alone.parquet")
    paths = [tmp_path / "all", tmp_path / "alone.parquet"]
    grouped = oof.read_all(paths, "oof", SCHEMA, "d")
    assert [p.origin.fold for p in grouped["exp"]] == [0, 1, 2]
    assert oof.read_all(paths, "test", SCHEMA, "d") == {}


def test_the_digest_of_predictions_is_that_of_earlier_versions():
    whole = oof.assemble([part(2), part(0), part(1)], UIDS, FOLDS)
    assert oof.content_digest([part(0), whole])[:12] == "b8f1e3c24131"


def test_a_folder_without_predictions_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no oof.parquet there; make it with ranzcr predict"):
        oof.read_all([tmp_path], "oof", SCHEMA, "d")
