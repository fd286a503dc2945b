from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ranzcr.ensemble.score import Truth, score
from ranzcr.errors import DataError
from ranzcr.labels import PATIENT, UID, LabelSchema
from ranzcr.predictions import Predictions

LABELS = ["a", "b"]


@pytest.fixture
def train_csv(tmp_path, studies):
    table = pd.DataFrame(studies.targets[:, :2], columns=LABELS)
    table.insert(0, UID, [f"s{row}" for row in range(len(table))])
    table[PATIENT] = studies.patients
    table.to_csv(tmp_path / "train.csv", index=False)
    return tmp_path / "train.csv"


def test_a_part_of_the_studies_in_any_order_is_scored(train_csv, tmp_path, studies):
    rows = np.random.default_rng(0).permutation(240)[:100]
    values = studies.members["good"][rows, :2]
    uids = np.array([f"s{row}" for row in rows])
    Predictions(uids, values, LabelSchema(("a", "b"))).write(tmp_path / "p.csv.gz")
    scores, truth = score(tmp_path / "p.csv.gz", train_csv)
    written = pd.read_csv(tmp_path / "p.csv.gz")[LABELS].to_numpy()
    assert scores.cv_auc == pytest.approx(roc_auc_score(studies.targets[rows, :2], written))
    assert scores.cv_auc_lo < scores.cv_auc < scores.cv_auc_hi
    assert list(scores.auc) == LABELS
    assert len(truth.uids) == 100


def test_a_label_without_a_class_has_no_auc(train_csv, tmp_path, studies):
    table = pd.read_csv(train_csv).assign(b=0)
    table.to_csv(train_csv, index=False)
    uids = table[UID].to_numpy()
    schema = LabelSchema(("a", "b"))
    Predictions(uids, studies.members["good"][:, :2], schema).write(tmp_path / "p.parquet")
    scores, _ = score(tmp_path / "p.parquet", train_csv)
    assert scores.auc["b"] is None
    assert scores.cv_auc == scores.auc["a"]


def test_a_study_without_labels_is_named(train_csv, tmp_path):
    values = np.full((1, 2), 0.5, np.float32)
    Predictions(np.array(["who"]), values, LabelSchema(("a", "b"))).write(tmp_path / "p.csv")
    with pytest.raises(DataError, match=r"p.csv: 1 studies have no labels, e.g. who"):
        score(tmp_path / "p.csv", train_csv)


def test_a_label_that_is_neither_0_nor_1_is_named(train_csv):
    table = pd.read_csv(train_csv)
    table.loc[4, "b"] = 7
    table.to_csv(train_csv, index=False)
    with pytest.raises(DataError, match=r"train.csv: s4 has 7 for b; expected 0 or 1"):
        Truth.read(train_csv)


def test_a_missing_table_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"train.csv: not a table of labels"):
        Truth.read(tmp_path / "train.csv")


def test_patients_may_be_absent(train_csv):
    pd.read_csv(train_csv).drop(columns=PATIENT).to_csv(train_csv, index=False)
    truth = Truth.read(train_csv)
    assert list(truth.groups[:2]) == ["s0", "s1"]


def test_the_six_real_models(real_data):
    """Real out-of-fold predictions of competition models score as the competition's do."""
    train_csv = real_data / "ranzcr" / "train.csv"
    scores, truth = score(real_data / "ranzcr" / "oof" / "oof_a.csv.gz", train_csv)
    assert len(truth.uids) == 6017
    assert scores.cv_auc == pytest.approx(0.97093, abs=1e-5)
