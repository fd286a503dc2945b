from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from tiny import TRAIN, UIDS, edit, noise

from ranzcr.data import competition
from ranzcr.errors import DataError
from ranzcr.labels import PATIENT, UID


def test_a_folder_is_read_in_the_order_of_its_tables(folder):
    found = competition.read(folder)
    assert found.studies[UID].tolist() == [*UIDS, "9.2", "9.1", "n1"]
    assert found.studies["split"].tolist() == ["train"] * 8 + ["test"] * 2 + ["external"]
    assert found.studies["source"].tolist() == ["competition"] * 10 + ["nih"]
    assert found.studies["file"].iloc[8] == "test/9.2.png"
    assert found.schema.names == ("ETT - Normal", "CVC - Normal")
    assert found.missing.empty


def test_labels_are_int8_and_minus_one_where_unlabelled(folder):
    studies = competition.read(folder).studies
    labels = studies[["ETT - Normal", "CVC - Normal"]].to_numpy()
    assert labels.dtype == np.int8
    assert labels[:2].tolist() == [[0, 1], [1, 1]]
    assert (labels[8:] == -1).all()


def test_ids_stay_text_even_where_they_look_like_numbers(folder):
    studies = competition.read(folder).studies
    assert studies[PATIENT].iloc[-1] == "007"
    assert studies[UID].iloc[8] == "9.2"


def test_without_a_sample_submission_the_test_images_come_by_name(folder):
    (folder / "sample_submission.csv").unlink()
    assert competition.read(folder).studies[UID].tolist()[8:10] == ["9.1", "9.2"]


def test_only_train_is_needed(folder):
    for name in ("train_annotations.csv", "sample_submission.csv"):
        (folder / name).unlink()
    shutil.rmtree(folder / "test")
    shutil.rmtree(folder / "external")
    found = competition.read(folder)
    assert len(found.studies) == 8
    assert list(found.annotations.columns) == [UID, "label", "points"]


def test_points_of_annotations_are_read_and_may_lie_outside(folder):
    assert competition.read(folder).annotations["points"].tolist() == [
        [[30, 5], [31, 20]],
        [[-3, 5], [20, 30.5]],
    ]


def test_a_correction_moves_a_label_and_its_lines(folder):
    (folder / "corrections.csv").write_text(
        "StudyInstanceUID,label,new_label\n1.2.0,CVC - Normal,ETT - Normal\n"
    )
    found = competition.read(folder)
    assert found.studies.loc[0, ["ETT - Normal", "CVC - Normal"]].tolist() == [1, 0]
    assert found.annotations["label"].tolist() == ["ETT - Normal", "ETT - Normal"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("train.csv", ",PatientID", ",Patient", r"train\.csv: missing PatientID; found .*Patient"),
        ("train.csv", "StudyInstanceUID", "uid", r"train\.csv: missing StudyInstanceUID"),
        ("train.csv", "1.2.3,", "1.2.2,", r"train\.csv: StudyInstanceUID 1\.2\.2 appears twice"),
        ("train.csv", "1.2.3,1", "1.2.3,2", r"1\.2\.3 has 2 for ETT - Normal; a label is 0 or 1"),
        ("train.csv", "1.2.3,1", "1.2.3,", r"1\.2\.3 has nothing for ETT - Normal"),
        ("train.csv", "1.2.3,1", "1.2.3,yes", r"1\.2\.3 has yes for ETT - Normal"),
        ("train.csv", "1.2.3,1", "1.2.3,nan", r"1\.2\.3 has nan for ETT - Normal"),
        ("train.csv", "1.2.3,1,1,p1", "1.2.3,1,1,", r"line 5 \(study 1\.2\.3\) has no PatientID"),
        ("train.csv", "1.2.3,", ",", r"line 5 has no StudyInstanceUID"),
        ("train.csv", "CVC - Normal", "fold", r"a label may not be named fold"),
        ("train_annotations.csv", "1.2.1", "7", r"train_annotations\.csv: 7 is not in train\.csv"),
        ("train_annotations.csv", "ETT -", "EET -", r"'EET - Normal' .* did you mean ETT - Normal"),
        ("train_annotations.csv", "[[30, 5]", "[[30, 5", r"1\.2\.1: data is .*not JSON"),
        ("train_annotations.csv", "[30, 5]", "[30]", r"with \[30\], not a pair of numbers"),
        ("train_annotations.csv", "[30, 5]", "[NaN, 5]", r"not a pair of numbers"),
        ("train_annotations.csv", "data", "dat", r"missing data"),
        ("sample_submission.csv", "CVC - Normal", "CVC", r"sample_submission\.csv: missing CVC"),
        ("sample_submission.csv", "9.2", "1.2.1", r"1\.2\.1 appears more than once \(test and tra"),
    ],
)
def test_a_bad_table_is_one_line_that_names_it(folder, file, old, new, message):
    edit(folder / file, old, new)
    with pytest.raises(DataError, match=message) as caught:
        competition.read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\x00\xff\xfe\x80", b'a,b\n"1,2\n'])
def test_a_train_table_that_is_no_table_is_one_line(folder, content):
    (folder / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"train\.csv: ") as caught:
        competition.read(folder)
    assert "\n" not in str(caught.value)


def test_a_header_alone_is_an_error(folder):
    (folder / "train.csv").write_text(TRAIN[0])
    with pytest.raises(DataError, match="no rows"):
        competition.read(folder)


def test_missing_parts_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        competition.read(tmp_path / "nowhere")
    (folder / "train.csv").unlink()
    with pytest.raises(DataError, match=r"train\.csv: no such file"):
        competition.read(folder)


def test_a_test_folder_without_images_is_an_error(folder):
    for file in (folder / "test").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"test: no images"):
        competition.read(folder)


def test_missing_images_are_found_before_any_is_read(folder):
    (folder / "train" / "1.2.3.jpg").unlink()
    (folder / "test" / "9.1.png").unlink()
    assert competition.read(folder).missing[UID].tolist() == ["1.2.3", "9.1"]


def test_two_files_of_one_study_are_refused(folder):
    cv2.imwrite(str(folder / "train" / "1.2.3.png"), noise(1))
    with pytest.raises(DataError, match=r"1\.2\.3\.jpg and 1\.2\.3\.png are one study"):
        competition.read(folder)


def test_the_real_table_reads_and_its_corrections_apply(folder, real_data):
    schema, train = competition.read_train(real_data / "ranzcr" / "train.csv")
    assert (len(train), train[PATIENT].nunique(), len(schema)) == (30083, 3255, 11)
    assert train[list(schema.names)].sum().tolist()[:3] == [79, 1138, 7240]
    fixes = competition.read_corrections(real_data / "ranzcr" / "corrections.csv", schema, train)
    fixed = competition.correct_labels(train, fixes)
    changed = (fixed[list(schema.names)] != train[list(schema.names)]).to_numpy()
    assert changed.sum() == 2 * len(fixes) == 38
