from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import UIDS, noise
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.data.audit import audit
from ranzcr.data.dataset import Dataset
from ranzcr.labels import PATIENT, UID, LabelSchema
from ranzcr.stages import prepare

pytestmark = pytest.mark.slow

XRAYS = Path(__file__).parents[3] / "shared" / "data" / "cxr-intubation"


@pytest.fixture
def prepared(folder, tmp_path):
    """Prepares the tiny folder, as a test has changed it, at 32 px in 2 folds."""

    def _prepared(size: int = 32) -> Dataset:
        result = prepare.run(folder, tmp_path / "prepared", size=size, folds=2)
        return Dataset.open(result.path)

    return _prepared


@pytest.fixture
def change(prepared):
    """A prepared data set with cells of its table changed: (row, column) -> value."""

    def _change(cells: dict[tuple[int, str], object]) -> Dataset:
        dataset = prepared()
        table = dataset.table.copy()
        for (row, column), value in cells.items():
            table.loc[row, column] = value
        table.to_parquet(dataset.path / "table.parquet", index=False)
        return Dataset.open(dataset.path)

    return _change


def of_other_folds(dataset: Dataset) -> tuple[int, int]:
    """Return two train rows of different folds."""
    fold = dataset.table["fold"].to_numpy()
    return int(np.argmax(fold == 0)), int(np.argmax(fold == 1))


def test_a_data_set_as_it_should_be_is_clean(prepared):
    report = audit(prepared())
    assert report.clean
    assert report.findings == ()
    assert report.summary == "no leak in 11 studies"


def test_a_patient_in_two_folds_is_a_leak(prepared, change):
    one, other = of_other_folds(prepared())
    dataset = change({(one, PATIENT): "p9", (other, PATIENT): "p9"})
    (leak,) = audit(dataset).leaks
    assert leak.check == "patients"
    assert leak.text == f"{PATIENT} p9 is in several folds (fold 0, fold 1)"
    assert sorted(leak.studies) == sorted([UIDS[one], UIDS[other]])


def test_a_train_patient_among_the_external_images_is_a_leak(change):
    dataset = change({(10, PATIENT): "p0"})
    (leak,) = audit(dataset).leaks
    fold = dataset.table["fold"].iloc[0]
    assert leak.text == f"{PATIENT} p0 is in several folds (fold {fold}, external)"


def test_unknown_patients_are_not_one_patient(change):
    assert audit(change({(10, PATIENT): ""})).clean


def test_a_copied_file_is_a_leak_between_folds(prepared, change):
    dataset = prepared()
    one, other = of_other_folds(dataset)
    (leak,) = audit(change({(other, "sha256"): dataset.table["sha256"][one]})).leaks
    assert leak.check == "copies"
    assert sorted(leak.studies) == sorted([UIDS[one], UIDS[other]])


def test_a_copied_file_is_none_within_a_fold(folder, prepared):
    for uid in UIDS:
        image = noise(int(uid[-1]) // 2)  # two studies of each patient
        cv2.imwrite(str(folder / "train" / f"{uid}.jpg"), image)
    assert audit(prepared()).clean


@pytest.mark.parametrize("quality", [100, 60])
def test_prepare_leaves_no_leak_between_train_patients_who_share_an_xray(folder, prepared, quality):
    one, other = (folder / "train" / f"{UIDS[row]}.jpg" for row in of_other_folds(prepared()))
    image = cv2.imread(str(one), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(other), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert audit(prepared()).clean


@pytest.mark.parametrize("place", ["test/9.1.png", "external/nih/n1.png"])
def test_a_train_image_that_every_model_gets_soft_labels_for_is_a_leak(folder, prepared, place):
    (folder / place).write_bytes((folder / "train" / "1.2.3.jpg").read_bytes())
    (leak,) = audit(prepared()).leaks
    assert leak.check == "copies"
    assert set(leak.studies) == {"1.2.3", Path(place).stem}


def test_an_image_that_is_in_test_and_external_only_is_none(folder, prepared):
    (folder / "external/nih/n1.png").write_bytes((folder / "test/9.1.png").read_bytes())
    assert audit(prepared()).clean


def test_an_xray_that_was_encoded_again_is_a_leak(folder, prepared):
    image = cv2.imread(str(folder / "train" / "1.2.3.jpg"), cv2.IMREAD_GRAYSCALE)
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    darker = (255 * (half / 255) ** 1.4).astype(np.uint8)
    cv2.imwrite(str(folder / "external/nih/n1.png"), darker)
    report = audit(prepared())
    (leak,) = report.leaks
    assert leak.check == "near-duplicates"
    assert set(leak.studies) == {"1.2.3", "n1"}
    assert "n1 (external) are the same X-ray (likeness 0.9" in leak.text
    assert report.summary.startswith("near-duplicates: 1.2.3 (fold ")


def test_blank_images_are_not_duplicates(folder, prepared):
    for number, uid in enumerate(UIDS):
        cv2.imwrite(str(folder / "train" / f"{uid}.jpg"), np.full((40, 60), number, np.uint8))
    assert audit(prepared()).clean


def test_a_cache_too_small_to_tell_says_so(prepared):
    report = audit(prepared(size=16))
    assert report.clean
    assert report.summary == "no leak in 11 studies, 1 warning"
    assert "the image cache has 16 px per side, not 32" in report.findings[0].text


def test_a_uid_in_two_splits_is_a_leak(change):
    leaks = {leak.check: leak for leak in audit(change({(8, UID): "1.2.3"})).leaks}
    assert "StudyInstanceUID 1.2.3 occurs more than once (fold " in leaks["uids"].text
    assert leaks["uids"].studies == ("1.2.3",)


def test_copies_with_other_labels_are_a_warning(folder, prepared):
    (folder / "train" / "1.2.1.jpg").write_bytes((folder / "train" / "1.2.0.jpg").read_bytes())
    report = audit(prepared())
    (warning,) = report.findings
    assert report.clean
    assert warning.check == "labels"
    assert "with different labels for ETT - Normal" in warning.text


def test_two_labels_of_an_exclusive_family_are_a_warning(dataset, tmp_path):
    assert not [f for f in audit(Dataset.open(dataset)).findings if "allows one" in f.text]
    copy = shutil.copytree(dataset, tmp_path / "copy")
    table = Dataset.open(copy).table
    row = table.index[table["split"] == "train"][0]
    table.loc[row, ["ETT - Normal", "ETT - Abnormal"]] = 1
    table.to_parquet(copy / "table.parquet", index=False)
    (warning,) = [f for f in audit(Dataset.open(copy)).findings if "allows one" in f.text]
    assert (warning.check, warning.leak) == ("labels", False)
    uid = table.loc[row, UID]
    assert warning.text == f"train study {uid} has several labels of ETT, which allows one"
    assert warning.studies == (uid,)


def test_a_fold_without_a_positive_is_a_warning(change):
    cells = {(row, "CVC - Normal"): 0 for row in range(8)}
    (warning,) = audit(change(cells)).findings
    assert warning.text == "fold 0 has no positive of CVC - Normal, and 1 more"


def test_a_train_study_of_no_fold_is_a_warning_and_its_patient_leaks(change):
    report = audit(change({(3, "fold"): -1}))
    assert [leak.check for leak in report.leaks] == ["patients"]
    assert report.findings[1].text == "train study 1.2.3 is in no fold"


def test_the_command_prints_leaks_with_exit_code_2(change):
    leaky = change({(10, PATIENT): "p0"})
    result = CliRunner().invoke(cli.app, ["data", "audit", str(leaky.path)])
    assert result.exit_code == 2
    assert result.output.startswith("leak  patients: PatientID p0 is in several folds")
    assert result.output.endswith("prepared: not clean\n")


def test_the_command_says_that_a_data_set_is_clean(prepared):
    result = CliRunner().invoke(cli.app, ["data", "audit", str(prepared().path)])
    assert result.exit_code == 0
    assert result.output.endswith("prepared: no leak in 11 studies\n")


def drawn(studies: int, seed: int) -> Dataset:
    """Studies of as many patients in 3 folds, 32 px; of no folder."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({UID: [f"s{row}" for row in range(studies)], "A": 1})
    table = table.assign(split="train", sha256=table[UID], **{PATIENT: table[UID]})
    table["fold"] = np.arange(studies) % 3
    images = rng.integers(0, 255, (studies, 32, 32), np.uint8)
    return Dataset(Path("drawn"), LabelSchema(("A",)), table, table, images, "", 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(6, 1100), st.integers(0, 9), st.data())
def test_a_twin_planted_in_another_fold_is_always_found(studies, seed, data):
    """Wherever the two stand: within a block of the comparison, across two, or at its end."""
    dataset = drawn(studies, seed)
    one = data.draw(st.integers(0, studies - 1))
    other = data.draw(st.integers(0, studies - 1).filter(lambda row: (row - one) % 3))
    assert audit(dataset).clean
    dataset.images[other] = 5 + dataset.images[one] // 2
    (leak,) = audit(dataset).leaks
    assert set(leak.studies) == {f"s{one}", f"s{other}"}
    dataset.images[other] = dataset.images[one]
    dataset.table.loc[other, "sha256"] = f"s{one}"
    (leak,) = audit(dataset).leaks
    assert (leak.check, set(leak.studies)) == ("copies", {f"s{one}", f"s{other}"})


@pytest.mark.skipif(not XRAYS.is_dir(), reason=f"no {XRAYS}")
def test_real_xrays_that_stand_under_two_patients_are_found_and_no_others(tmp_path):
    """Four X-rays of this collection were published twice, as patients covid-97 and covid-178."""
    dataset = Dataset.open(prepare.run(XRAYS, tmp_path / "prepared", size=64, folds=2).path)
    table = dataset.table.copy()
    table["fold"] = np.where(table[PATIENT] == "covid-97", 0, 1)
    table.loc[table["split"] != "train", "fold"] = -1
    report = audit(Dataset(**{**vars(dataset), "table": table}))
    (leak,) = report.leaks
    assert leak.check == "near-duplicates"
    assert len(leak.studies) == 8
    assert set(table.loc[table[UID].isin(leak.studies), PATIENT]) == {"covid-97", "covid-178"}
