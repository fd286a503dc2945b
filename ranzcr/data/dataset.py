"""The prepared data set: what every stage after `prepare` reads.

dataset.json         schema version, labels, counts, folds, image size, digest
table.parquet        one row per image, see COLUMNS
annotations.parquet  StudyInstanceUID, label, points (JSON of [[x, y], ...], original pixels)
images.npy           (N, S, S) uint8; row i is the image of row i of the table
skipped.csv          the bad images that were left out, if there are any
overview.png         prevalences per fold and a few images, for a person to look at
"""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from ranzcr.documents import Document
from ranzcr.errors import DataError
from ranzcr.files import hash_json
from ranzcr.home import home
from ranzcr.labels import PATIENT, UID, LabelSchema
from ranzcr.progress import track

SCHEMA_VERSION = 1
SPLITS = ("train", "test", "external")
# Beside one int8 column per label (-1: unlabelled). The fold of what is not train is -1;
# width and height are the original's in pixels, sha256 is of the image file.
COLUMNS = (UID, PATIENT, "fold", "split", "source", "width", "height", "sha256", "cache_crc32")


class DatasetDescription(Document):
    """dataset.json: a data set without its tables and images."""

    FILE = "dataset.json"
    STAGE = "prepare"

    schema_version: int
    labels: tuple[str, ...]
    counts: dict[str, int]  # images by split, annotations, patients of the train split
    folds: int
    image_size: int  # pixels per side of the cache
    digest: str  # of the content
    # The rest is not part of the digest.
    skipped: int = 0  # images that were left out
    joined: list[list[str]] = []  # PatientIDs of each person who has several  # noqa: RUF012
    input: str | None = None  # hash of everything that decided the result

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read dataset.json. Raises DataError if it is missing, damaged or of another version."""
        file = cls._file(path)
        if not file.is_file():
            raise DataError(
                f"{file.parent}: not a prepared data set (no {file.name}); make it with prepare"
            )
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            version = content["schema_version"]
            if version == SCHEMA_VERSION:
                return cls.model_validate(content)
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{file}: damaged; prepare the data set again") from None
        raise DataError(
            f"{file}: schema version {version}, this ranzcr reads {SCHEMA_VERSION}; prepare again"
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared data set, open for reading; the images are mapped, not loaded."""

    path: Path
    schema: LabelSchema
    table: pd.DataFrame  # N rows
    annotations: pd.DataFrame
    images: np.ndarray  # (N, S, S) uint8, a read-only memory map
    digest: str  # of the content: the same anywhere and at any time
    folds: int

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> Dataset:
        """Open a data set.

        Args:
            verify: compare the checksums of an image cache that is new to this machine; False is
                for callers that need no images.

        Raises DataError if it is missing, of another version, or damaged.
        """
        path = Path(path)
        description = DatasetDescription.read(path)
        try:
            table = pd.read_parquet(path / "table.parquet")
            annotations = pd.read_parquet(path / "annotations.parquet")
            images = np.load(path / "images.npy", mmap_mode="r")
        except (ValueError, OSError, EOFError) as error:
            problem = " ".join(str(error).split())[:200]
            raise DataError(f"{path}: damaged data set ({problem}); prepare it again") from None
        size = description.image_size
        rows = sum(description.counts[split] for split in SPLITS)
        schema = LabelSchema(description.labels)
        _refuse_other_shape(path, images, (rows, size, size))
        _refuse_other_table(path, table, schema, rows)
        dataset = cls(
            path, schema, table, annotations, images, description.digest, description.folds
        )
        if verify:
            dataset._verify_once()
        return dataset

    @property
    def image_size(self) -> int:
        """S, pixels per side of the cache."""
        return int(self.images.shape[1])

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split: train, test or external."""
        if split not in SPLITS:
            raise ValueError(f"split {split!r}; expected one of {', '.join(SPLITS)}")
        return np.flatnonzero(self.table["split"] == split)

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """(n, L) float32 of 0 and 1; -1 where a row is unlabelled."""
        targets: np.ndarray = self.table[list(self.schema.names)].to_numpy(np.float32)[rows]
        return targets

    def _verify_once(self) -> None:
        """Verify the images unless this machine has done so since the file was written."""
        file = (self.path / "images.npy").stat()
        version = [self.digest, file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns]
        marker = home() / "verified" / hash_json(version)[:32]
        if not marker.exists():
            self.verify()
            with suppress(OSError):  # a folder that cannot be written: verified again next time
                marker.parent.mkdir(parents=True, exist_ok=True)
                marker.touch()

    def verify(self) -> None:
        """Read every image and compare its checksum. Raises DataError at the first difference."""
        expected = self.table["cache_crc32"].to_numpy()
        for row in track(range(len(self.table)), "Verifying images"):
            if zlib.crc32(self.images[row].data) != expected[row]:
                uid = self.table[UID].iloc[row]
                raise DataError(
                    f"{self.path / 'images.npy'}: the image of {uid} (row {row}) is damaged; "
                    "prepare the data set again"
                )


def write(
    folder: Path,
    table: pd.DataFrame,
    annotations: pd.DataFrame,
    schema: LabelSchema,
    *,
    folds: int,
    image_size: int,
    skipped: int = 0,
    joined: list[list[str]] | None = None,
    input: str | None = None,
) -> str:
    """Write a data set's tables and dataset.json beside its image cache; return the digest.

    Args:
        annotations: UID, label, points (a list of [x, y]).
        skipped, joined, input: see DatasetDescription.
    """
    annotations = annotations.assign(
        points=[json.dumps(points) for points in annotations["points"]]
    )
    table.to_parquet(folder / "table.parquet", index=False)
    annotations.to_parquet(folder / "annotations.parquet", index=False)
    digest = _content_digest(table, annotations, folds, image_size)
    per_split = {split: int((table["split"] == split).sum()) for split in SPLITS}
    patients = table.loc[table["split"] == "train", PATIENT].nunique()
    counts = {**per_split, "annotations": len(annotations), "patients": int(patients)}
    DatasetDescription(
        schema_version=SCHEMA_VERSION,
        labels=schema.names,
        counts=counts,
        folds=folds,
        image_size=image_size,
        digest=digest,
        skipped=skipped,
        joined=joined or [],
        input=input,
    ).write(folder)
    return digest


def _content_digest(
    table: pd.DataFrame, annotations: pd.DataFrame, folds: int, image_size: int
) -> str:
    content = {
        "columns": list(table.columns),
        "rows": table.astype(str).to_numpy().tolist(),
        "annotations": annotations.astype(str).to_numpy().tolist(),
        "folds": folds,
        "image_size": image_size,
    }
    return hash_json(content)


def _refuse_other_shape(path: Path, images: np.ndarray, expected: tuple[int, ...]) -> None:
    if images.shape != expected or images.dtype != np.uint8:
        raise DataError(
            f"{path / 'images.npy'}: found {images.dtype} {images.shape}, dataset.json says uint8 "
            f"{expected}; prepare the data set again"
        )


def _refuse_other_table(path: Path, table: pd.DataFrame, schema: LabelSchema, rows: int) -> None:
    missing = [name for name in (*COLUMNS, *schema.names) if name not in table.columns]
    if missing or len(table) != rows:
        problem = f"missing {', '.join(missing)}" if missing else f"{len(table)} rows for {rows}"
        raise DataError(f"{path / 'table.parquet'}: {problem}; prepare the data set again")
