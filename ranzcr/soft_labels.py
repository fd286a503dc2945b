"""The soft labels folder: predictions of teachers for every study, fold by fold.

`soft_labels.parquet` has StudyInstanceUID, split, fold, teacher and one float32 per label. A train
row is there once per teacher with its own fold: the prediction of the model that did not train on
it. A test or external row is there once per teacher and fold. `soft_labels.json` describes it.

A student of fold k learns from train rows of the other folds and from test and external rows of
fold k ("fold-matched", 22nd place of RANZCR CLiP).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ranzcr.documents import SoftLabelsDescription
from ranzcr.errors import DataError
from ranzcr.files import hash_json, replacing
from ranzcr.labels import UID, LabelSchema

_TABLE = "soft_labels.parquet"


@dataclass(frozen=True)
class SoftLabels:
    """Soft labels; `table` has the columns above."""

    table: pd.DataFrame
    schema: LabelSchema
    dataset_digest: str
    teachers: tuple[str, ...]
    digest: str = ""  # of the content, once written

    @classmethod
    def open(cls, folder: Path | str) -> SoftLabels:
        """Read a folder that `write` made. Raises DataError if it is missing or damaged."""
        description = SoftLabelsDescription.read(folder)
        path = Path(folder) / _TABLE
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            problem = " ".join(str(error).split())[:80]
            raise DataError(f"{path}: cannot be read ({problem}); run ranzcr pseudo") from None
        return cls(
            table,
            LabelSchema(description.labels),
            description.dataset_digest,
            description.teachers,
            description.digest,
        )

    def write(self, folder: Path | str) -> SoftLabels:
        """Write the folder and return the soft labels with their digest."""
        rows = pd.util.hash_pandas_object(self.table, index=False).to_numpy().tobytes().hex()
        digest = hash_json([self.schema.names, self.dataset_digest, self.teachers, rows])
        description = SoftLabelsDescription(
            labels=self.schema.names,
            dataset_digest=self.dataset_digest,
            teachers=self.teachers,
            counts=self.counts(),
            digest=digest,
        )
        with replacing(folder) as beside:
            beside.mkdir()
            self.table.to_parquet(beside / _TABLE, index=False)
            description.write(beside)
        return replace(self, digest=digest)

    def counts(self) -> dict[str, int]:
        """Return how many studies of each split have a soft label."""
        studies = self.table.groupby("split")[UID].nunique()
        return {str(split): int(count) for split, count in studies.items()}

    def for_fold(self, fold: int, teachers: tuple[str, ...] = ()) -> pd.DataFrame:
        """Return the soft labels that a student of `fold` may learn from, averaged over teachers.

        Args:
            teachers: these only; empty takes all.

        The columns are UID, split and the labels, with one row per study. Raises DataError if a
        teacher is missing.
        """
        missing = [teacher for teacher in teachers if teacher not in self.teachers]
        if missing:
            raise DataError(
                f"soft labels: no teacher {missing[0]}; found {', '.join(self.teachers)}. "
                "Add it to the first stage"
            )
        table = self.table
        train = table["split"].eq("train")
        allowed = (train & table["fold"].ne(fold)) | (~train & table["fold"].eq(fold))
        if teachers:
            allowed &= table["teacher"].isin(teachers)
        labels = list(self.schema.names)
        grouped = table[allowed].groupby([UID, "split"], sort=False, observed=True)[labels].mean()
        return grouped.reset_index()
