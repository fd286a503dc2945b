"""A competition folder of a few tiny JPEGs."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from tiny import TRAIN, UIDS, noise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """8 train studies of 4 patients, 2 annotated lines, 2 test studies, 1 external image."""
    folder = tmp_path / "competition"
    for place in ("train", "test", "external/nih"):
        (folder / place).mkdir(parents=True)
    (folder / "train.csv").write_text("\n".join(TRAIN) + "\n")
    for number, uid in enumerate(UIDS):
        cv2.imwrite(str(folder / "train" / f"{uid}.jpg"), noise(number))
    (folder / "train_annotations.csv").write_text(
        "StudyInstanceUID,label,data\n"
        '1.2.1,ETT - Normal,"[[30, 5], [31, 20]]"\n'
        '1.2.0,CVC - Normal,"[[-3, 5], [20, 30.5]]"\n'
    )
    (folder / "sample_submission.csv").write_text(
        "StudyInstanceUID,ETT - Normal,CVC - Normal\n9.2,0,0\n9.1,0,0\n"
    )
    for uid in ("9.1", "9.2"):
        cv2.imwrite(str(folder / "test" / f"{uid}.png"), noise(50))
    cv2.imwrite(str(folder / "external" / "nih" / "n1.png"), noise(60))
    (folder / "external" / "nih.csv").write_text("StudyInstanceUID,PatientID\nn1,007\n")
    return folder
