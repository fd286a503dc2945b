"""The competition folder: read whole, checked but for the pixels.

    train.csv                StudyInstanceUID, one 0/1 column per label, PatientID
    train/<UID>.jpg          .jpeg and .png too, of any size
    train_annotations.csv    optional: StudyInstanceUID, label, data (JSON [[x, y], ...])
    test/<UID>.jpg           optional; sample_submission.csv says which, in which order
    corrections.csv          optional: StudyInstanceUID, label, new_label
    external/<source>/*.jpg  optional: unlabelled images, their patients in external/<source>.csv

The tables decide: an image that no table names is not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ranzcr import competitions
from ranzcr.data import annotations as lines
from ranzcr.errors import DataError, nearest
from ranzcr.labels import PATIENT, UID, LabelSchema
from ranzcr.submission.kernel import is_image

COMPETITION = "competition"  # the source of train and test images

# Columns of the prepared table, which no label may be named like.
_RESERVED = (
    "fold",
    "split",
    "source",
    "file",
    "width",
    "height",
    "sha256",
    "cache_crc32",
    "problem",
)


@dataclass(frozen=True)
class CompetitionFolder:
    """A competition folder whose tables hold.

    Attributes:
        studies: one row per image in the prepared data set's order: UID, one int8 column per label
            (-1: unlabelled), PatientID ("": unknown), split, source, and `file`, the image's path
            in the folder ("": there is none).
        annotations: UID, label, points (a list of [x, y] in original pixels).
    """

    path: Path
    schema: LabelSchema
    studies: pd.DataFrame
    annotations: pd.DataFrame

    @property
    def missing(self) -> pd.DataFrame:
        """The studies that have no image."""
        return self.studies[self.studies["file"] == ""]


def read(path: Path | str) -> CompetitionFolder:
    """Read and check a competition folder.

    A missing image is not an error here: see `Competition.missing`. Raises DataError for any other
    difference from the module's description.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; give a folder with train.csv and train/")
    schema, train = read_train(path / "train.csv")
    fixes = read_corrections(path / "corrections.csv", schema, train)
    train = correct_labels(train, fixes)
    drawn = _read_annotations(path / "train_annotations.csv", schema, train)
    studies = pd.concat(
        [_train_studies(path, train), _test_studies(path, schema), *_external_studies(path)],
        ignore_index=True,
    )
    for name in schema.names:
        studies[name] = studies[name].fillna(-1).astype(np.int8)
    _refuse_repeats(path, studies)
    columns = [UID, *schema.names, PATIENT, "split", "source", "file"]
    return CompetitionFolder(path, schema, studies[columns], _correct_lines(drawn, fixes))


def read_train(csv: Path | str) -> tuple[LabelSchema, pd.DataFrame]:
    """The labels of a train.csv and its rows: UID str, int8 labels, PatientID str.

    Raises DataError if a column is missing, a UID is repeated, a label is neither 0 nor 1, or a
    patient has no id.
    """
    csv = Path(csv)
    table = _read_csv(csv, (UID, PATIENT))
    schema = LabelSchema.from_columns(table.columns, where=str(csv))
    for name in schema.names:
        if name in _RESERVED:
            raise DataError(f"{csv}: a label may not be named {name}; rename the column")
    if table.empty:
        raise DataError(f"{csv}: no rows; expected one per study")
    _refuse_empty(csv, table, UID)
    _refuse_empty(csv, table, PATIENT)
    repeated = table[UID][table[UID].duplicated()]
    if len(repeated):
        column = competitions.current().column(UID)
        raise DataError(f"{csv}: {column} {repeated.iloc[0]} appears twice; keep one row per study")
    for name in schema.names:
        table[name] = _zero_or_one(csv, table, name)
    return schema, table[[UID, *schema.names, PATIENT]]


def find_images(folder: Path) -> dict[str, str]:
    """UID -> file name of the images in a folder, sorted by UID.

    Raises DataError if two files are of the same study.
    """
    found: dict[str, str] = {}
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    for name in names:
        file = Path(name)
        if not is_image(file):
            continue
        if file.stem in found:
            raise DataError(f"{folder}: {found[file.stem]} and {name} are one study; keep one")
        found[file.stem] = name
    return dict(sorted(found.items()))


def _read_csv(csv: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """A CSV file as text, checked for its columns. Empty cells are ""."""
    names = competitions.current()
    if not csv.is_file():
        columns = ", ".join(map(names.column, required))
        raise DataError(f"{csv}: no such file; expected a table with {columns}")
    try:
        table = pd.read_csv(csv, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, pd.errors.ParserError) as error:  # an empty file is a ValueError too
        problem = " ".join(str(error).split())
        raise DataError(f"{csv}: not a CSV table ({problem}); write it again") from None
    table = names.from_files(table)
    missing = [names.column(column) for column in required if column not in table.columns]
    if missing:
        found = ", ".join(names.to_files(table).columns)
        raise DataError(f"{csv}: missing {', '.join(missing)}; found {found}. Add the column")
    return table


def _refuse_empty(csv: Path, table: pd.DataFrame, column: str) -> None:
    empty = np.flatnonzero(table[column].str.strip() == "")
    if len(empty):
        line = empty[0] + 2  # of the file, below the header
        study = "" if column == UID else f" (study {table[UID].iloc[empty[0]]})"
        name = competitions.current().column(column)
        raise DataError(f"{csv}: line {line}{study} has no {name}; fill it in or drop the row")


def _zero_or_one(csv: Path, table: pd.DataFrame, name: str) -> np.ndarray:
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    bad = np.flatnonzero((values != 0) & (values != 1))
    if len(bad):
        found = table[name].iloc[bad[0]] or "nothing"
        uid = table[UID].iloc[bad[0]]
        raise DataError(f"{csv}: {uid} has {found} for {name}; a label is 0 or 1")
    return values.astype(np.int8)


def read_corrections(csv: Path, schema: LabelSchema, train: pd.DataFrame) -> pd.DataFrame:
    """UID, label and new_label of each known label error; empty without a file."""
    if not csv.is_file():
        return pd.DataFrame(columns=[UID, "label", "new_label"])
    table = _read_csv(csv, (UID, "label", "new_label"))
    _refuse_unknown_studies(csv, table, train)
    for column in ("label", "new_label"):
        _refuse_unknown_labels(csv, table[column], schema)
    return table


def correct_labels(train: pd.DataFrame, fixes: pd.DataFrame) -> pd.DataFrame:
    """A copy in which each corrected study has `label` 0 and `new_label` 1."""
    corrected = train.copy()
    row_of = pd.Series(train.index, index=train[UID])
    for uid, label, new_label in fixes[[UID, "label", "new_label"]].itertuples(index=False):
        corrected.loc[row_of[uid], [label, new_label]] = [0, 1]
    return corrected


def _correct_lines(annotations: pd.DataFrame, fixes: pd.DataFrame) -> pd.DataFrame:
    """The lines of a corrected label follow it: they are drawings of the same tube."""
    new = {(row[UID], row["label"]): row["new_label"] for _, row in fixes.iterrows()}
    keys = zip(annotations[UID], annotations["label"], strict=True)
    return annotations.assign(label=[new.get(key, key[1]) for key in keys])


def _read_annotations(csv: Path, schema: LabelSchema, train: pd.DataFrame) -> pd.DataFrame:
    if not csv.is_file():
        return pd.DataFrame({UID: [], "label": [], "points": []}, dtype=object)
    table = _read_csv(csv, (UID, "label", "data"))
    _refuse_unknown_studies(csv, table, train)
    _refuse_unknown_labels(csv, table["label"], schema)
    points = []
    for uid, text in zip(table[UID], table["data"], strict=True):
        try:
            points.append(lines.parse_points(text))
        except ValueError as error:
            raise DataError(f"{csv}: {uid}: data is {error}; expected [[x, y], ...]") from None
    return pd.DataFrame({UID: table[UID], "label": table["label"], "points": points})


def _refuse_unknown_studies(csv: Path, table: pd.DataFrame, train: pd.DataFrame) -> None:
    unknown = table[UID][~table[UID].isin(train[UID])]
    if len(unknown):
        raise DataError(f"{csv}: {unknown.iloc[0]} is not in train.csv; drop its rows")


def _refuse_unknown_labels(csv: Path, labels: pd.Series, schema: LabelSchema) -> None:
    unknown = labels[~labels.isin(schema.names)]
    if len(unknown):
        label = unknown.iloc[0]
        raise DataError(f"{csv}: {label!r} is not a label; {nearest(label, schema.names)}")


def _train_studies(path: Path, train: pd.DataFrame) -> pd.DataFrame:
    if not (path / "train").is_dir():
        raise DataError(f"{path / 'train'}: no such folder; put the images of train.csv there")
    files = _files_of(path / "train", train[UID])
    return train.assign(split="train", source=COMPETITION, file=files)


def _test_studies(path: Path, schema: LabelSchema) -> pd.DataFrame:
    csv = path / "sample_submission.csv"
    folder = path / "test"
    found = find_images(folder)
    if folder.is_dir() and not found:
        raise DataError(f"{folder}: no images; put .jpg or .png files there or remove the folder")
    uids = pd.Series(list(found), dtype=object)
    if csv.is_file():
        table = _read_csv(csv, (UID, *schema.names))
        _refuse_empty(csv, table, UID)
        uids = table[UID]
    files = _files_of(folder, uids)
    return _unlabelled(uids, [""] * len(uids), files, split="test", source=COMPETITION)


def _external_studies(path: Path) -> list[pd.DataFrame]:
    folders = sorted(folder for folder in path.glob("external/*") if folder.is_dir())
    return [_one_external(folder) for folder in folders]


def _one_external(folder: Path) -> pd.DataFrame:
    found = find_images(folder)
    if not found:
        raise DataError(f"{folder}: no images; put .jpg or .png files there or remove the folder")
    patients: dict[str, str] = {}
    csv = folder.with_name(f"{folder.name}.csv")
    if csv.is_file():
        table = _read_csv(csv, (UID, PATIENT))
        patients = dict(zip(table[UID], table[PATIENT], strict=True))
    uids = pd.Series(list(found), dtype=object)
    files = [f"external/{folder.name}/{name}" for name in found.values()]
    known = [patients.get(uid, "") for uid in uids]
    return _unlabelled(uids, known, files, split="external", source=folder.name)


def _unlabelled(
    uids: pd.Series, patients: list[str], files: list[str], *, split: str, source: str
) -> pd.DataFrame:
    columns = {UID: uids, PATIENT: patients, "split": split, "source": source, "file": files}
    return pd.DataFrame(columns, dtype=object)


def _files_of(folder: Path, uids: pd.Series) -> list[str]:
    """The path of each study's image within the competition folder; "" if it has none."""
    found = find_images(folder)
    return [f"{folder.name}/{found[uid]}" if uid in found else "" for uid in uids]


def _refuse_repeats(path: Path, studies: pd.DataFrame) -> None:
    repeated = studies[studies[UID].duplicated(keep=False)]
    if len(repeated):
        uid = repeated[UID].iloc[0]
        places = sorted(set(repeated.loc[repeated[UID] == uid, "split"]))
        raise DataError(
            f"{path}: {competitions.current().column(UID)} {uid} appears more than once "
            f"({' and '.join(places)}); every image needs its own"
        )
