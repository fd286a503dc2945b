import json

import numpy as np
import pytest
from trained import tiny

from ranzcr import predictions
from ranzcr.documents import Blend, CheckpointMetrics
from ranzcr.errors import DataError
from ranzcr.inference import runtime
from ranzcr.stages import export, predict, train


@pytest.fixture(scope="module")
def models(dataset, tmp_path_factory):
    """Two folds of `tiny`, one of `other`."""
    root = tmp_path_factory.mktemp("models")
    wanted = [("tiny", 0), ("tiny", 1), ("other", 0)]
    return [
        train.run(tiny(name), dataset, root / f"{name}{fold}", fold=fold, track=False).path
        for name, fold in wanted
    ]


@pytest.fixture
def blend(models, tmp_path):
    def make(**weights: float):
        blend = Blend(
            **{"cv_auc": 0.9, "cv_auc_lo": 0.8, "cv_auc_hi": 1.0, "method": "weights"},
            weights=weights,
            members=tuple(weights),
            dataset_digest=CheckpointMetrics.read(models[0]).dataset_digest,
            digest="b" * 64,
        )
        blend.write(tmp_path / "blend")
        return tmp_path / "blend"

    return make


def test_an_ensemble_folder_predicts_what_its_models_do(models, blend, competition, tmp_path):
    result = export.run(blend(tiny=0.25, other=0.75), models, tmp_path / "ensemble")
    assert result.max_abs_diff < 1e-4
    expected = 0.0
    for weight, members in ((0.25, models[:2]), (0.75, models[2:])):
        path = predict.run(members, competition / "test", tmp_path / f"{weight}.csv").path
        expected = expected + weight * predictions.read(path).values
    files = [competition / "test" / f"{uid}.jpg" for uid in predictions.read(path).uids]
    predicted = runtime.predict_files(runtime.load(result.path), files)
    assert np.allclose(predicted, expected, atol=1e-4)


def test_only_weighted_members_are_exported_and_each_is_checked(models, blend, tmp_path):
    result = export.run(blend(tiny=1.0, other=0.0), models, tmp_path / "ensemble")
    described = json.loads((result.path / "ensemble.json").read_text())
    (member,) = described["members"]
    assert member["models"] == ["tiny/fold0.onnx", "tiny/fold1.onnx"]
    assert (member["weight"], member["image_size"], member["tta"]) == (1.0, 48, "flip")
    assert described["cache_size"] == 64
    assert described["blend_digest"] == "b" * 64
    parity = json.loads((result.path / "parity.json").read_text())
    assert list(parity["max_abs_diff"]) == member["models"]
    assert not (result.path / "other").exists()


def test_a_member_without_checkpoint_is_named(models, blend, tmp_path):
    with pytest.raises(DataError, match="no checkpoint of other among the 2 given"):
        export.run(blend(tiny=0.5, other=0.5), models[:2], tmp_path / "ensemble")
    assert not (tmp_path / "ensemble").exists()


def test_a_checkpoint_of_another_data_set_is_refused(models, blend, tmp_path):
    folder = blend(tiny=1.0)
    Blend.read(folder).model_copy(update={"dataset_digest": "e" * 64}).write(folder)
    with pytest.raises(DataError, match=r"made from data set \w{12}, expected eeeeeeeeeeee"):
        export.run(folder, models, tmp_path / "ensemble")


def test_a_folder_without_a_blend_is_named(models, tmp_path):
    with pytest.raises(DataError, match=r"blend.json: missing or damaged; make it with ranzcr"):
        export.run(tmp_path, models, tmp_path / "ensemble")
