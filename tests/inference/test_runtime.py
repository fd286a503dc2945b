import base64
import json
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
from tiny_ensemble import write_ensemble

from ranzcr.errors import DataError
from ranzcr.inference import runtime

LABELS = ("ETT - Normal", "NGT - Normal")


@pytest.fixture
def ensemble(tmp_path):
    return write_ensemble(tmp_path, LABELS)


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), pixels)
    return tmp_path / "photo.png"


def test_the_ensemble_is_the_weighted_mean_of_its_members(ensemble):
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    opened = runtime.load(ensemble)
    members = opened.members
    parts = []
    for member in members:
        opened.members = [{**member, "weight": 1.0}]
        parts.append(opened.predict(images))
    opened.members = members
    first, second = parts
    assert np.allclose(opened.predict(images), 0.75 * first + 0.25 * second, atol=1e-6)
    assert not np.allclose(first, second)


def test_files_bytes_and_base64_give_the_same_probabilities(ensemble, photo):
    opened = runtime.load(ensemble)
    content = photo.read_bytes()
    expected = runtime.predict_files(opened, [photo])
    table = pd.DataFrame({"image": [content, base64.b64encode(content).decode()]})
    served = runtime._load_pyfunc(str(ensemble)).predict(table)
    assert list(served.columns) == list(LABELS)
    assert np.allclose(served, np.repeat(expected, 2, axis=0), atol=1e-6)


def test_many_files_are_predicted_in_order(ensemble, photo):
    other = photo.with_name("other.png")
    cv2.imwrite(str(other), np.zeros((64, 64), np.uint8))
    opened = runtime.load(ensemble)
    values = runtime.predict_files(opened, [photo] * 20 + [other])
    assert np.allclose(values[:20], values[0], atol=1e-6)
    assert np.allclose(values[20], runtime.predict_files(opened, [other])[0], atol=1e-6)
    assert runtime.predict_files(opened, []).shape == (0, 2)


def test_it_runs_without_torch():
    code = "import sys, ranzcr.inference.runtime; print({'torch', 'timm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("image", "problem"),
    [("no base64!", "expected a file's bytes"), (b"GIF89a", "image 0: "), (b"", "image 0: ")],
)
def test_a_bad_image_is_named(ensemble, image, problem):
    model = runtime._load_pyfunc(str(ensemble))
    with pytest.raises(DataError, match=problem):
        model.predict(pd.DataFrame({"image": [image]}))


def test_a_path_is_not_opened(ensemble, photo):
    with pytest.raises(DataError, match="expected a file's bytes or base64"):
        runtime._load_pyfunc(str(ensemble)).predict(pd.DataFrame({"image": [str(photo)]}))


def test_a_table_without_images_is_named(ensemble):
    with pytest.raises(DataError, match="no column image; found picture"):
        runtime._load_pyfunc(str(ensemble)).predict(pd.DataFrame({"picture": [1]}))


def test_an_incomplete_ensemble_is_named(tmp_path, ensemble):
    (ensemble / "exp0/fold1.onnx").write_bytes(b"")
    with pytest.raises(DataError, match=r"exp0/fold1.onnx: cannot be loaded"):
        runtime.load(ensemble)
    (ensemble / "ensemble.json").write_text(json.dumps({"members": []}))
    with pytest.raises(DataError, match=r"ensemble.json: damaged; export the ensemble again"):
        runtime.load(ensemble)
    with pytest.raises(DataError, match=r"no ensemble.json; expected what ranzcr export wrote"):
        runtime.load(tmp_path / "nothing")
