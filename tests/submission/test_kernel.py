from __future__ import annotations

import ast
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from tiny_ensemble import write_ensemble

from ranzcr.data import cache
from ranzcr.inference import runtime
from ranzcr.labels import UID
from ranzcr.submission import kernel

LABELS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Eight X-rays-to-be: grey and colour, 8 and 16 bits, JPEG and PNG, small and large."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    shapes = [(70, 90), (300, 260), (256, 512), (520, 530), (40, 50), (64, 64), (700, 90), (99, 99)]
    for number, shape in enumerate(shapes):
        smooth = cv2.resize(rng.random((9, 9, 3)), shape[::-1], interpolation=cv2.INTER_CUBIC)
        image = np.clip(255 * smooth, 0, 255).astype(np.uint8)
        if number % 2:
            image = image[..., 0]
        if number == 7:
            image = image.astype(np.uint16) * 200
        suffix = "png" if number in (5, 7) else "jpg"
        assert cv2.imwrite(str(folder / f"s{number}.{suffix}"), image)
    return folder


@pytest.fixture
def ensemble(tmp_path):
    (tmp_path / "ensemble").mkdir()
    return write_ensemble(tmp_path / "ensemble", LABELS)


def test_images_are_decoded_exactly_as_the_data_set_caches_them(images):
    for file in images.iterdir():
        for size in (32, 64, 128):
            expected = cache.read_image(file, size).pixels
            (square,) = kernel.read_squares([file], size)
            np.testing.assert_array_equal(square, expected)


def test_predictions_are_those_of_the_served_ensemble(images, ensemble):
    files = sorted(images.iterdir())
    values, broken = kernel.predict_files(kernel.OnnxEnsemble(ensemble), files)
    assert broken == {}
    contents = pd.DataFrame({"image": [file.read_bytes() for file in files]})
    served = runtime._load_pyfunc(str(ensemble)).predict(contents)
    np.testing.assert_allclose(values, served, atol=1e-6)
    assert values.std() > 0.02


def test_a_broken_image_gets_the_prevalence_and_is_reported(images, ensemble, tmp_path):
    whole = (images / "s1.jpg").read_bytes()
    bad = {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"not an image"}
    for name, content in bad.items():
        (tmp_path / f"{name}.jpg").write_bytes(content)
    runs = kernel.OnnxEnsemble(ensemble)
    runs.prevalence = [0.1, 0.2, 0.3]
    files = [images / "s0.jpg", None, *(tmp_path / f"{name}.jpg" for name in bad)]
    values, broken = kernel.predict_files(runs, files)
    np.testing.assert_allclose(values[1:], np.tile([[0.1, 0.2, 0.3]], (4, 1)), rtol=1e-6)
    assert sorted(broken) == [1, 2, 3, 4]
    assert broken[1] == "there is no such image"
    assert "truncated" in broken[2]
    alone, _ = kernel.predict_files(runs, files[:1])
    np.testing.assert_allclose(values[0], alone[0], rtol=1e-5)


def test_more_images_than_a_batch_keep_their_order(images, ensemble):
    files = sorted(images.iterdir()) * 5
    values, _ = kernel.predict_files(kernel.OnnxEnsemble(ensemble), files)
    np.testing.assert_allclose(values, np.tile(values[:8], (5, 1)), atol=1e-6)


def test_the_table_has_the_columns_and_studies_of_the_sample(
    images, ensemble, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(kernel, "__file__", str(ensemble / "kernel.py"))
    sample = pd.DataFrame({UID: ["s3", "s0", "gone"], "c": 0, "a": 0})
    sample.to_csv(tmp_path / "sample.csv", index=False)
    output = tmp_path / "submission.csv"
    kernel.main(
        ["--images", str(images), "--sample", str(tmp_path / "sample.csv"), "--output", str(output)]
    )
    table = pd.read_csv(output)
    assert list(table.columns) == [UID, "c", "a"]
    assert list(table[UID]) == ["s3", "s0", "gone"]
    printed = capsys.readouterr().out
    assert "gone: there is no such image" in printed
    assert "3 studies, 1 without a readable image" in printed


def test_a_folder_without_the_images_stops_it(ensemble, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "__file__", str(ensemble / "kernel.py"))
    pd.DataFrame({UID: ["x"], "a": 0}).to_csv(tmp_path / "sample.csv", index=False)
    with pytest.raises(SystemExit, match="it has none of the sample's images"):
        kernel.main(["--images", str(tmp_path), "--sample", str(tmp_path / "sample.csv")])


def test_a_label_that_the_models_do_not_know_stops_it(images, ensemble, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "__file__", str(ensemble / "kernel.py"))
    pd.DataFrame({UID: ["s0"], "z": 0}).to_csv(tmp_path / "sample.csv", index=False)
    with pytest.raises(SystemExit, match="the models do not know z"):
        kernel.main(["--images", str(images), "--sample", str(tmp_path / "sample.csv")])


def test_it_imports_nothing_of_ranzcr():
    tree = ast.parse(Path(kernel.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    allowed = {"cv2", "numpy", "onnxruntime"}
    assert imported - set(sys.stdlib_module_names) == allowed


def test_without_arguments_it_reads_kaggles_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "KAGGLE", tmp_path)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip/sample_submission.csv").touch()
    options = kernel._parse([])
    assert options.sample == tmp_path / "clip/sample_submission.csv"
    assert options.images == tmp_path / "clip/test"
    assert options.output == Path("submission.csv")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("a.jpg", True), ("1.2.840.PNG", True), ("a.JpEg", True)),
        *(("._a.jpg", False), (".a.png", False), ("a.jpg.txt", False), ("jpg", False)),
    ],
)
def test_the_name_of_a_file_tells_whether_it_is_an_image(name, expected):
    assert kernel.is_image(name) == expected
    assert kernel.is_image(Path("/.hidden/folder") / name) == expected


def test_hidden_files_and_other_letter_cases(images, ensemble, tmp_path):
    """macOS leaves a `._` file beside each image that it copies."""
    folder = tmp_path / "copied"
    folder.mkdir()
    (folder / "s0.JPG").write_bytes((images / "s0.jpg").read_bytes())
    (folder / "._s0.JPG").write_bytes(b"attributes")
    assert kernel.image_files(folder) == [folder / "s0.JPG"]
    assert kernel.image_files(tmp_path / "nothing") == []
