from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from fold_predictions import write_folds

from ranzcr import predictions
from ranzcr.data.dataset import Dataset
from ranzcr.ensemble.auc import macro_auc
from ranzcr.ensemble.score import score
from ranzcr.errors import DataError
from ranzcr.labels import UID
from ranzcr.stages import blend, evaluate

pytestmark = pytest.mark.usefixtures("journal")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, dataset):
    """Two experiments; copy the folder before you change it."""
    folder = tmp_path_factory.mktemp("evaluated")
    folds = write_folds(folder, dataset, "good", skill=2)
    folds += write_folds(folder, dataset, "weak", skill=1, seed=1)
    return evaluate.run(folds, dataset, folder / "evaluated")


def test_the_blend_folder_has_weights_scores_and_predictions(evaluated, dataset, tmp_path):
    result = blend.run([evaluated.path], dataset, tmp_path / "blend")
    prepared = Dataset.open(dataset)
    written = json.loads((tmp_path / "blend" / "blend.json").read_text())
    assert sum(written["weights"].values()) == pytest.approx(1)
    assert written["members"] == ["good", "weak"]
    assert written["member_cv"] == pytest.approx(evaluated.cv)
    assert written["cv_auc_lo"] <= written["cv_auc"] <= written["cv_auc_hi"]
    oof = predictions.read(tmp_path / "blend" / "oof.parquet", prepared.schema)
    auc = macro_auc(prepared.targets(prepared.rows("train")), oof.values)
    assert result.cv_auc == written["cv_auc"] == pytest.approx(auc)
    assert oof.origin.members == ("good", "weak")
    assert (tmp_path / "blend" / "members.png").stat().st_size > 1000


def test_test_rows_get_the_final_weights(evaluated, dataset, tmp_path):
    blend.run([evaluated.path], dataset, tmp_path / "blend", method="mean")
    parts = [
        predictions.read(evaluated.path / name / "test.parquet").values for name in ("good", "weak")
    ]
    test = predictions.read(tmp_path / "blend" / "test.parquet")
    np.testing.assert_allclose(test.values, np.mean(parts, axis=0), atol=1e-6)


def test_members_from_several_rounds_are_blended(evaluated, dataset, tmp_path):
    more = write_folds(tmp_path, dataset, "student", skill=2, seed=5)
    second = evaluate.run(more, dataset, tmp_path / "second")
    blend.run([evaluated.path, second.path], dataset, tmp_path / "blend")
    written = json.loads((tmp_path / "blend" / "blend.json").read_text())
    assert written["members"] == ["good", "weak", "student"]


def test_the_digest_follows_content(evaluated, dataset, tmp_path):
    first = blend.run([evaluated.path], dataset, tmp_path / "a")
    assert blend.run([evaluated.path], dataset, tmp_path / "b").digest == first.digest
    mean = blend.run([evaluated.path], dataset, tmp_path / "c", method="mean")
    assert mean.digest != first.digest


def test_a_member_without_test_predictions_is_named(evaluated, dataset, tmp_path):
    copy = shutil.copytree(evaluated.path, tmp_path / "copy")
    (copy / "weak" / "test.parquet").unlink()
    with pytest.raises(DataError, match=r"experiment weak: no test.parquet, which other members"):
        blend.run([copy], dataset, tmp_path / "blend")
    assert not (tmp_path / "blend").exists()


def test_it_is_a_row_of_the_journal(evaluated, dataset, tmp_path, journal):
    result = blend.run([evaluated.path], dataset, tmp_path / "blend")
    written = json.loads((tmp_path / "blend" / "blend.json").read_text())
    run = journal.get_run(written["run_id"])
    assert run.data.tags["kind"] == "ensemble"
    assert run.data.tags["members"] == "good,weak"
    assert run.data.metrics["cv_auc"] == pytest.approx(result.cv_auc)
    files = {file.path for file in journal.list_artifacts(run.info.run_id, "blend")}
    assert {"blend/blend.json", "blend/oof.parquet", "blend/members.png"} <= files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """train.csv and two members' predictions of 90 of its 120 studies, in different orders."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (120, 2))
    uids = np.array([f"s{row}" for row in range(120)])
    train = pd.DataFrame({UID: uids, "a": targets[:, 0], "b": targets[:, 1]})
    train["PatientID"] = [f"p{row // 3}" for row in range(120)]
    train.to_csv(folder / "train.csv", index=False)
    for name in ("x", "y"):
        rows = rng.permutation(90)
        values = 1 / (1 + np.exp(-(targets[rows] + rng.normal(size=(90, 2)))))
        table = pd.DataFrame(values, columns=["a", "b"])
        table.insert(0, UID, uids[rows])
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_plain_files_are_blended_and_the_output_has_the_reported_score(files, tmp_path):
    out = tmp_path / "blend.csv"
    blended = blend.blend_files([files / "x.csv", files / "y.csv"], files / "train.csv", out)
    assert sum(blended.weights.values()) == pytest.approx(1)
    scores, _ = score(out, files / "train.csv")
    assert scores.cv_auc == pytest.approx(blended.scores.cv_auc)
    assert scores.cv_auc > max(member.cv_auc for member in blended.members.values())


def test_files_of_different_studies_are_refused(files, tmp_path):
    pd.read_csv(files / "y.csv")[:50].to_csv(tmp_path / "short.csv", index=False)
    with pytest.raises(DataError, match=r"short.csv: 50 studies, .*x.csv has 90; blend"):
        blend.blend_files(
            [files / "x.csv", tmp_path / "short.csv"], files / "train.csv", tmp_path / "out.csv"
        )


def test_a_file_given_twice_is_refused(files, tmp_path):
    with pytest.raises(DataError, match=r"x.csv: a second file of x; give each experiment once"):
        blend.blend_files([files / "x.csv"] * 2, files / "train.csv", tmp_path / "out.csv")


def test_six_real_models_blend_to_more_than_the_best(real_data, tmp_path):
    real = real_data / "ranzcr"
    members = sorted((real / "oof").glob("*.csv.gz"))
    blended = blend.blend_files(members, real / "train.csv", tmp_path / "blend.parquet")
    assert blended.scores.cv_auc > max(member.cv_auc for member in blended.members.values())
