import json

import pytest

from ranzcr.documents import (
    Blend,
    Candidate,
    Ensemble,
    EnsembleMember,
    Evaluation,
    ExperimentScores,
    Parity,
    SkippedImage,
    SkippedImages,
    check_dataset,
)
from ranzcr.errors import DataError

BLEND = {
    **{"method": "weights", "weights": {"a": 1.0, "b": 0.0}, "members": ["a", "b"]},
    **{"cv_auc": 0.8, "cv_auc_lo": None, "cv_auc_hi": 0.9, "auc": {"CVC": 0.8}},
    **{"dataset_digest": "d" * 64, "digest": "b" * 64},
}
MEMBER = EnsembleMember(
    experiment="a", weight=0.5, image_size=64, tta="flip", models=("a/fold0.onnx",)
)
ENSEMBLE = Ensemble(labels=("CVC",), members=(MEMBER,), cache_size=64, prevalence=(0.25,))


def test_a_written_document_is_read_again_from_its_folder_or_its_file(tmp_path):
    ENSEMBLE.write(tmp_path)
    assert Ensemble.read(tmp_path) == ENSEMBLE
    assert Ensemble.read(tmp_path / "ensemble.json") == ENSEMBLE


def test_the_form_of_ensemble_json_stays_because_its_bytes_are_hashed(tmp_path):
    ENSEMBLE.write(tmp_path)
    lines = (tmp_path / "ensemble.json").read_text().splitlines()
    keys = ["labels", "members", "cache_size", "prevalence"]
    assert [line.split('"')[1] for line in lines if line.startswith('  "')] == [
        *keys,
        *("dataset_digest", "blend_digest", "method"),
    ]
    assert lines[1:4] == ['  "labels": [', '    "CVC"', "  ],"]


def test_nan_and_empty_text_are_written_as_null(tmp_path):
    scores = {"cv_auc": float("nan"), "cv_auc_lo": 0.1, "cv_auc_hi": 0.3}
    spread = {"cv_auc_folds_mean": None, "cv_auc_folds_std": None}
    Evaluation({"a": ExperimentScores(**scores, **spread)}).write(tmp_path)
    assert json.loads((tmp_path / "evaluation.json").read_text())["a"]["cv_auc"] is None
    assert Evaluation.read(tmp_path).root["a"].cv_auc is None
    assert Blend.model_validate({**BLEND, "run_id": ""}).run_id is None


def test_a_member_without_weight_is_not_used():
    assert Blend.model_validate(BLEND).used_weights == {"a": 1.0}


@pytest.mark.parametrize("stored", [2e-4, {"a.onnx": 1e-6, "b.onnx": 2e-4}])
def test_parity_of_older_exports_can_be_read(tmp_path, stored):
    (tmp_path / "parity.json").write_text(json.dumps({"max_abs_diff": stored}))
    assert Parity.read(tmp_path).largest == 2e-4


def test_a_missing_or_damaged_document_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"blend.json: missing or damaged; make it with ranzcr bl"):
        Blend.read(tmp_path)
    (tmp_path / "blend.json").write_text(json.dumps({**BLEND, "weights": "a"}))
    with pytest.raises(DataError, match=r"damaged \(weights: input should be a valid dictionary"):
        Blend.read(tmp_path)
    (tmp_path / "candidate.json").write_text("[]")
    with pytest.raises(DataError, match=r"candidate.json: .*; make it with ranzcr register"):
        Candidate.read(tmp_path / "candidate.json")


def test_another_data_set_is_one_line():
    check_dataset("predictions", None, "d" * 64, "predict")
    check_dataset("predictions", "d" * 64, "d" * 64, "predict")
    expected = (
        f"predictions: made from data set {'e' * 12}, expected {'d' * 12}; run ranzcr predict"
    )
    with pytest.raises(DataError, match=expected):
        check_dataset("predictions", "e" * 64, "d" * 64, "predict")


def test_skipped_images_are_a_csv(tmp_path):
    skipped = SkippedImages(
        images=(SkippedImage(uid="1.2", file="train/1.2.jpg", problem='cut off, "no end"'),)
    )
    skipped.write(tmp_path / "skipped.csv")
    assert SkippedImages.read(tmp_path / "skipped.csv") == skipped
    first = (tmp_path / "skipped.csv").read_text().splitlines()[0]
    assert first == "StudyInstanceUID,file,problem"
    with pytest.raises(DataError, match=r"missing or damaged; make it with ranzcr prepare"):
        SkippedImages.read(tmp_path / "other.csv")
