import shutil

import numpy as np
import pandas as pd
import pytest
from tiny_ensemble import write_ensemble
from trained import tiny

from ranzcr import predictions
from ranzcr.data.dataset import Dataset
from ranzcr.errors import ConfigError, DataError
from ranzcr.inference import runtime
from ranzcr.labels import UID
from ranzcr.stages import predict, prepare, train


@pytest.fixture(scope="module")
def models(dataset, tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [
        train.run(tiny(), dataset, root / f"fold{fold}", fold=fold, track=False).path
        for fold in range(2)
    ]


def test_a_fold_model_predicts_its_own_rows_and_the_test_rows(models, dataset, tmp_path):
    result = predict.run(models[1:], dataset, tmp_path / "out")
    assert result.files == ("oof.parquet", "test.parquet")
    prepared = Dataset.open(dataset)
    oof = predictions.read(result.path / "oof.parquet", prepared.schema, prepared.digest)
    own = prepared.table[prepared.table["fold"] == 1]
    assert oof.uids.tolist() == own[UID].tolist()
    assert (oof.origin.experiment, oof.origin.fold, oof.origin.split) == ("tiny", 1, "train")
    test = predictions.read(result.path / "test.parquet", prepared.schema, prepared.digest)
    assert (len(test.uids), test.origin.split) == (len(prepared.rows("test")), "test")


def test_without_flips_predictions_are_those_of_training(models, dataset, tmp_path):
    result = predict.run(models[:1], dataset, tmp_path / "plain", tta="none")
    values = predictions.read(result.path / "oof.parquet").values
    assert np.allclose(values, predictions.read(models[0] / "oof.parquet").values, atol=1e-5)
    flipped = predict.run(models[:1], dataset, tmp_path / "flipped")
    assert flipped.digest != result.digest


def test_several_models_are_averaged(models, dataset, tmp_path):
    together = predict.run(models, dataset, tmp_path / "mean.parquet")
    apart = [
        predict.run([model], dataset, tmp_path / model.name).path / "test.parquet"
        for model in models
    ]
    mean = np.mean([predictions.read(path).values for path in apart], axis=0)
    assert np.allclose(predictions.read(together.path).values, mean, atol=1e-6)


def test_a_folder_of_images_is_predicted_as_its_data_set(models, dataset, competition, tmp_path):
    of_folder = predict.run(models, competition / "test", tmp_path / "images.csv")
    of_dataset = predict.run(models, dataset, tmp_path / "dataset.parquet")
    expected = predictions.read(of_dataset.path)
    predicted = predictions.read(of_folder.path).aligned(expected.uids)
    assert np.allclose(predicted.values, expected.values, atol=1e-5)


def test_another_data_set_is_refused(models, competition, tmp_path):
    prepare.run(competition, tmp_path / "other", size=64, folds=2, seed=0)
    with pytest.raises(DataError, match=r"made from data set \w{12}, expected \w{12}; run"):
        predict.run(models[:1], tmp_path / "other", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("count", "out", "problem"),
    [(1, "file.parquet", "writes a folder; give a folder's name"), (2, "folder", "ends in .parq")],
)
def test_an_output_of_the_wrong_kind_is_refused(models, dataset, tmp_path, count, out, problem):
    with pytest.raises(ConfigError, match=problem):
        predict.run(models[:count], dataset, tmp_path / out)


def test_an_unknown_view_is_refused(models, dataset, tmp_path):
    with pytest.raises(ConfigError, match="tta 'turn'; expected none or flip"):
        predict.run(models[:1], dataset, tmp_path / "out", tta="turn")


def test_a_broken_image_is_named(models, competition, tmp_path):
    folder = shutil.copytree(competition / "test", tmp_path / "images")
    image = sorted(folder.iterdir())[0]
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(DataError, match=image.name):
        predict.run(models, folder, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_folder_without_images_is_named(models, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no image; expected .jpg"):
        predict.run(models, tmp_path / "empty", tmp_path / "out.csv")


def test_a_csv_has_a_column_per_label(models, competition, tmp_path):
    result = predict.run(models, competition / "test", tmp_path / "out.csv")
    header = pd.read_csv(competition / "train.csv").columns.drop("PatientID")
    assert list(pd.read_csv(result.path).columns) == list(header)


@pytest.fixture
def ensemble(tmp_path):
    folder = tmp_path / "ensemble"
    folder.mkdir()
    return write_ensemble(folder, ("ETT - Normal", "CVC - Normal"), sizes=(32,))


def test_an_ensemble_predicts_a_folder_of_images(ensemble, competition, tmp_path):
    into_folder = predict.run([ensemble], competition / "test", tmp_path / "out")
    assert into_folder.files == ("submission.csv",)
    predicted = predictions.read(tmp_path / "out" / "submission.csv")
    paths = [competition / "test" / f"{uid}.jpg" for uid in predicted.uids]
    expected = runtime.predict_files(runtime.load(ensemble), paths)
    np.testing.assert_allclose(predicted.values, expected, atol=1e-6)
    predict.run([ensemble], competition / "test", tmp_path / "one.parquet")
    assert predictions.read(tmp_path / "one.parquet").origin.members == ("exp0",)


def test_unsupported_options_of_an_ensemble_are_refused(ensemble, dataset, competition, tmp_path):
    with pytest.raises(ConfigError, match="an ensemble predicts a folder of images"):
        predict.run([ensemble], dataset, tmp_path / "out")
    for more in ({"models": [ensemble, ensemble]}, {"models": [ensemble], "tta": "flip"}):
        with pytest.raises(ConfigError, match="has its models and views; give it alone"):
            predict.run(**more, data=competition / "test", out=tmp_path / "out")
