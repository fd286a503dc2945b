"""Phantoms: the same bytes from the same seed, and labels that follow from what is drawn."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranzcr.competitions import PHANTOM_LABELS
from ranzcr.data import phantom_devices as devices
from ranzcr.data.phantom import draw_study, write_competition
from ranzcr.data.phantom_anatomy import Anatomy, FilmView, lengths, smooth
from ranzcr.data.phantom_plan import SPLITS, demand, plan_studies
from ranzcr.errors import ConfigError, OutputError
from ranzcr.files import hash_folder
from ranzcr.labels import PATIENT, UID

pytestmark = pytest.mark.slow

LABELS = list(PHANTOM_LABELS.names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_competition(tmp_path_factory.mktemp("phantoms") / "p", studies=60, size=256)


@pytest.fixture(scope="module")
def train(folder):
    return pd.read_csv(folder / "train.csv", dtype={PATIENT: str})


@pytest.fixture(scope="module")
def outlines(folder):
    return pd.read_csv(folder / "train_annotations.csv")


def test_a_folder_has_the_competitions_layout(folder, train, outlines):
    assert list(train.columns) == [UID, *LABELS, PATIENT]
    assert list(outlines.columns) == [UID, "label", "data"]
    assert {path.stem for path in (folder / "train").glob("*.jpg")} == set(train[UID])
    sample = pd.read_csv(folder / "sample_submission.csv")
    assert list(sample.columns) == [UID, *LABELS]
    assert {path.stem for path in (folder / "test").glob("*.jpg")} == set(sample[UID])
    assert (len(train), len(sample)) == (60, 15)
    assert not sample[LABELS].to_numpy().any()


def test_images_are_grey_and_of_the_asked_size(folder, train):
    image = cv2.imread(str(folder / "train" / f"{train[UID][0]}.jpg"), cv2.IMREAD_UNCHANGED)
    assert image.shape == (256, 256)
    assert image.dtype == np.uint8
    assert image.std() > 20


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(tmp_path):
    one = write_competition(tmp_path / "one", studies=40, size=64, seed=3, workers=1)
    two = write_competition(tmp_path / "two", studies=40, size=64, seed=3, workers=2)
    other = write_competition(tmp_path / "other", studies=40, size=64, seed=4, workers=1)
    assert hash_folder(one) == hash_folder(two)
    assert hash_folder(one, "train.csv") != hash_folder(other, "train.csv")


def test_a_second_run_does_no_work(tmp_path):
    out = write_competition(tmp_path / "p", studies=2, size=64)
    before = (out / "train.csv").stat().st_ino
    assert write_competition(out, studies=2, size=64) == out
    assert (out / "train.csv").stat().st_ino == before


def test_other_phantoms_replace_phantoms(tmp_path):
    write_competition(tmp_path / "p", studies=2, size=64)
    out = write_competition(tmp_path / "p", studies=3, size=64)
    assert len(pd.read_csv(out / "train.csv")) == 3
    assert len(list((out / "train").iterdir())) == 3


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds files that are not phantoms; choose another"):
        write_competition(tmp_path, studies=2, size=64)
    with pytest.raises(OutputError, match="a file is in the way; choose another"):
        write_competition(tmp_path / "thesis.txt", studies=2, size=64)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_nothing_is_left_behind_when_drawing_fails(tmp_path, monkeypatch):
    def fail(job):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ranzcr.data.phantom._save", fail)
    with pytest.raises(OSError, match="No space"):
        write_competition(tmp_path / "p", studies=2, size=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"studies": 0}, "studies=0 must be at least 1"),
        ({"studies": 2, "size": 63}, "size=63 must be at least 64 pixels"),
        ({"studies": 2, "seed": -1}, "seed=-1 must be 0 or more"),
        ({"studies": 2, "workers": 0}, "workers=0 must be at least 1"),
    ],
)
def test_a_value_out_of_range_is_named(tmp_path, wrong, message):
    with pytest.raises(ConfigError, match=message):
        write_competition(tmp_path / "p", **wrong)


# The plan


@pytest.mark.parametrize("studies", [24, 60, 600])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_label_is_wanted_by_at_least_three_patients(studies, seed):
    plans = plan_studies(studies, seed, "train")
    for label in LABELS:
        assert len({plan.patient for plan in plans if label in plan.wanted}) >= 3, label


def test_prevalences_are_the_competitions_with_a_floor_under_the_rare():
    plans = plan_studies(3000, 1, "train")
    counts = {label: sum(label in plan.wanted for plan in plans) for label in LABELS}
    # Two NGTs in 45 of 30,083 studies come on top of what was asked for.
    assert counts == pytest.approx(demand(3000), abs=5)
    assert counts["CVC - Normal"] == round(3000 * 21324 / 30083)
    assert counts["ETT - Abnormal"] == 135


def test_combinations_of_labels_are_the_competitions():
    wanted = [plan.wanted for plan in plan_studies(3000, 2, "train")]
    cvcs = [sum(label.startswith("CVC") for label in labels) for labels in wanted]
    assert max(sum(label.startswith("ETT") for label in labels) for labels in wanted) == 1
    assert max(sum(label.startswith("NGT") for label in labels) for labels in wanted) == 2
    assert np.mean(np.array(cvcs) == 2) == pytest.approx(3504 / 30083, abs=0.03)
    assert np.mean([not labels for labels in wanted]) < 0.05


def test_patients_have_few_or_many_studies_and_none_is_in_both_splits():
    plans = {split: plan_studies(600, 0, split) for split in SPLITS}
    counts = pd.Series([plan.patient for plan in plans["train"]]).value_counts()
    assert counts.min() == 1
    assert counts.max() >= 30
    assert not set(counts.index) & {plan.patient for plan in plans["test"]}


@pytest.mark.parametrize("studies", [1, 2, 5, 23])
def test_tiny_folders_can_be_planned(studies):
    assert len(plan_studies(studies, 0, "train")) == studies
    assert plan_studies(studies, 0, "test")


def test_every_patient_has_outlines(train, outlines):
    annotated = train[train[UID].isin(outlines[UID])]
    tubed = train[train[LABELS].any(axis=1)]
    assert set(annotated[PATIENT]) == set(tubed[PATIENT])
    assert len(annotated) < len(tubed)


# The rules, and what is drawn


def test_the_rules_at_their_limits():
    assert devices.ett_label(-0.5) == devices.ett_label(1.9) == "ETT - Abnormal"
    assert devices.ett_label(2.5) == devices.ett_label(7.5) == "ETT - Borderline"
    assert devices.ett_label(3.0) == devices.ett_label(7.0) == "ETT - Normal"
    assert devices.ett_label(8.1) == "ETT - Abnormal"
    assert devices.ngt_label(0, tip_on_film=True) == "NGT - Abnormal"
    assert devices.ngt_label(9.9, tip_on_film=True) == "NGT - Borderline"
    assert devices.ngt_label(10, tip_on_film=True) == "NGT - Normal"
    assert devices.ngt_label(12, tip_on_film=False) == "NGT - Incompletely Imaged"
    assert devices.cvc_label(-3, 0) == devices.cvc_label(1, 1.9) == "CVC - Normal"
    assert devices.cvc_label(-4, 0) == devices.cvc_label(2, 0) == "CVC - Borderline"
    assert devices.cvc_label(-7, 0) == devices.cvc_label(4, 0) == "CVC - Abnormal"
    assert devices.cvc_label(0, 2.1) == "CVC - Abnormal"
    assert devices.is_swan_ganz(3, 4)
    assert not devices.is_swan_ganz(5, 0)


@given(seed=st.integers(0, 2**32), label=st.sampled_from(LABELS), size=st.sampled_from([64, 512]))
@settings(max_examples=150, deadline=None)
def test_a_tube_can_be_placed_for_every_label_in_every_patient(seed, label, size):
    rng = np.random.default_rng(seed)
    body, view = Anatomy.sample(rng), FilmView.sample(rng, size)
    tube = devices.place(label, body, view, rng)
    device = "Swan Ganz" if label.startswith("Swan") else label.split(" - ")[0]
    assert devices.label_of(device, tube.course, body, view) == label
    shows_its_tip = bool(view.inside(tube.course[-1:])[0])
    assert shows_its_tip == (label != "NGT - Incompletely Imaged")


def test_labels_and_outlines_are_the_geometry_that_was_drawn(train, outlines):
    """Read back the tables and apply the rules to the polylines in them."""
    rows = train.set_index(UID)
    for plan in plan_studies(60, 0, "train"):
        phantom = draw_study(plan, 256)
        assert phantom.labels == {label for label in LABELS if rows.loc[plan.uid, label]}
        drawn = outlines[outlines[UID] == plan.uid]
        assert len(drawn) == (len(plan.wanted) if plan.annotated else 0)
        for label, data in zip(drawn["label"], drawn["data"], strict=True):
            course = _to_cm(np.array(json.loads(data), float), phantom.view)
            device = "Swan Ganz" if label.startswith("Swan") else label.split(" - ")[0]
            if label != "NGT - Incompletely Imaged":  # its outline ends at the film's edge
                found = devices.label_of(device, course, phantom.body, phantom.view)
                assert found == label, plan.uid


def _to_cm(pixels, view):
    matrix = view.matrix()
    return (pixels - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


@pytest.mark.parametrize("device", ["ETT", "NGT", "CVC"])
def test_how_a_tube_looks_tells_nothing_of_its_label(device):
    """Two labels of a device on one and the same course give the same picture."""
    view = FilmView(degrees=0, zoom=1, shift=(0, 0), size=64)
    course = smooth([(0, -18), (1, 0), (3, 15)])
    pictures = []
    for label in (f"{device} - Normal", f"{device} - Abnormal"):
        film = devices.Film(np.zeros((64, 64), np.float32), view)
        devices.draw(devices.Tube(label, course), film, np.random.default_rng(0))
        pictures.append(film.density)
    assert pictures[0].max() > 0.05
    assert np.array_equal(*pictures)


def test_outlines_lie_on_the_film_and_have_a_shape(outlines):
    for data in outlines["data"]:
        points = np.array(json.loads(data))
        assert len(points) >= 5
        assert points.min() >= -4
        assert points.max() <= 260


def test_a_patients_studies_share_the_anatomy_and_nothing_else():
    plans = plan_studies(60, 0, "train")
    shared = [plan for plan in plans if plan.patient == plans[0].patient]
    first, second = (draw_study(plan, 64) for plan in shared[:2])
    assert first.body is second.body
    assert first.view != second.view
    assert not np.array_equal(first.image, second.image)


def test_a_smooth_curve_keeps_its_ends_and_steps_evenly():
    curve = smooth([(0, 0), (3, 1), (4, 5)], step=0.5)
    assert curve[0].tolist() == [0, 0]
    assert curve[-1].tolist() == [4, 5]
    assert np.diff(lengths(curve)).max() <= 0.5 + 1e-9
