"""The soft labels folder: what teachers say of every study, fold by fold.

`soft_labels.parquet`: StudyInstanceUID, split, fold, teacher and one float32 per label. A train row
stands once per teacher with its own fold: the prediction of the model that did not train on it. A
test or external row stands once per teacher and fold. `soft_labels.json` says the rest.

A student of fold k learns from train rows of the other folds and from test and external rows of
fold k ("fold-matched", 22nd place of RANZCR CLiP).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ranzcr.errors import DataError
from ranzcr.files import hash_json, replacing
from ranzcr.labels import UID, LabelSchema


@dataclass(frozen=True)
class SoftLabels:
    """`table` has the columns above; `digest` names its content."""

    table: pd.DataFrame
    schema: LabelSchema
    dataset_digest: str
    teachers: tuple[str, ...]
    digest: str = ""

    @classmethod
    def open(cls, folder: Path | str) -> SoftLabels:
        """Read a folder that `write` made. Raises DataError where it is missing or damaged."""
        folder = Path(folder)
        try:
            said = json.loads((folder / "soft_labels.json").read_text(encoding="utf-8"))
            table = pd.read_parquet(folder / "soft_labels.parquet")
            return cls(
                table,
                LabelSchema(tuple(said["labels"])),
                said["dataset_digest"],
                tuple(said["teachers"]),
                said["digest"],
            )
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{folder}: no readable soft labels ({type(error).__name__}: "
                f"{str(error)[:80]}); make them with ranzcr pseudo"
            ) from None

    def write(self, folder: Path | str) -> SoftLabels:
        """Write the folder and return the soft labels with their digest."""
        rows = pd.util.hash_pandas_object(self.table, index=False).to_numpy().tobytes().hex()
        digest = hash_json([self.schema.names, self.dataset_digest, self.teachers, rows])
        with replacing(folder) as beside:
            beside.mkdir()
            self.table.to_parquet(beside / "soft_labels.parquet", index=False)
            said = {
                "labels": list(self.schema.names),
                "dataset_digest": self.dataset_digest,
                "teachers": list(self.teachers),
                "counts": self.counts(),
                "digest": digest,
            }
            (beside / "soft_labels.json").write_text(json.dumps(said, indent=2) + "\n")
        return SoftLabels(self.table, self.schema, self.dataset_digest, self.teachers, digest)

    def counts(self) -> dict[str, int]:
        """Studies with a soft label, per split."""
        studies = self.table.groupby("split")[UID].nunique()
        return {str(split): int(count) for split, count in studies.items()}

    def for_fold(self, fold: int, teachers: tuple[str, ...] = ()) -> pd.DataFrame:
        """What a student of `fold` may learn from, teachers averaged.

        Args:
            teachers: these only; empty takes all.

        Returns UID, split and the label columns, one row per study. Raises DataError naming a
        teacher that is missing.
        """
        missing = [teacher for teacher in teachers if teacher not in self.teachers]
        if missing:
            raise DataError(
                f"soft labels: no teacher {missing[0]}; found {', '.join(self.teachers)}. "
                "Add it to the first stage"
            )
        table = self.table
        own = table["split"].eq("train")
        allowed = (own & table["fold"].ne(fold)) | (~own & table["fold"].eq(fold))
        if teachers:
            allowed &= table["teacher"].isin(teachers)
        labels = list(self.schema.names)
        grouped = table[allowed].groupby([UID, "split"], sort=False, observed=True)[labels].mean()
        return grouped.reset_index()
