"""The predictions file, which every stage after training reads and writes.

One parquet file: `StudyInstanceUID` and one float32 probability column per label in schema order.
Its metadata names its origin; every reader checks the labels and the data set's digest. CSV in the
form of a submission (also .csv.gz) is read too; it has no origin.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranzcr import competitions
from ranzcr.documents import check_dataset
from ranzcr.errors import DataError
from ranzcr.files import replacing
from ranzcr.labels import PATIENT, UID, LabelSchema

_KEY = b"ranzcr"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of predictions. `members` are the experiments of a blend."""

    experiment: str
    fold: int | None = None  # None for predictions of all folds
    seed: int = 0
    split: str = "train"  # train (out-of-fold), test or external
    dataset_digest: str | None = None
    run_id: str | None = None  # of MLflow
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predictions:
    """Probabilities of N studies for L labels: `values` is (N, L) float32 in 0 to 1."""

    uids: np.ndarray  # (N,) of str
    values: np.ndarray
    schema: LabelSchema
    origin: Origin = field(default_factory=lambda: Origin(experiment=""))

    def __post_init__(self) -> None:
        expected = (len(self.uids), len(self.schema))
        if self.values.shape != expected:
            raise ValueError(f"values are {self.values.shape}, expected {expected}")

    def frame(self) -> pd.DataFrame:
        """Return the UID and one column per label."""
        table = pd.DataFrame(np.asarray(self.values, np.float32), columns=list(self.schema.names))
        table.insert(0, UID, np.asarray(self.uids, dtype=object))
        return table

    def aligned(self, uids: Sequence[str] | np.ndarray) -> Predictions:
        """Return the predictions in the order of `uids`. Raises DataError if one is missing."""
        order = pd.Index(self.uids).get_indexer(pd.Index(uids))
        if (order < 0).any():
            missing = np.asarray(uids)[order < 0]
            raise DataError(
                f"predictions of {self.origin.experiment or 'a file'}: {len(missing)} studies are "
                f"missing, e.g. {missing[0]}; predict them first"
            )
        return replace(self, uids=np.asarray(uids), values=self.values[order])

    def write(self, path: Path | str) -> None:
        """Write parquet, or CSV like a submission if the name ends in .csv or .csv.gz."""
        with replacing(path) as beside:
            if str(path).endswith((".csv", ".csv.gz")):
                competitions.current().to_files(self.frame()).to_csv(beside, index=False)
                return
            import pyarrow
            import pyarrow.parquet

            table = pyarrow.Table.from_pandas(self.frame(), preserve_index=False)
            origin = json.dumps(asdict(self.origin)).encode()
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: origin})
            pyarrow.parquet.write_table(table, beside)


def read(
    path: Path | str, schema: LabelSchema | None = None, digest: str | None = None
) -> Predictions:
    """Read a predictions file and check it.

    Args:
        path: .parquet, .csv or .csv.gz.
        schema: the labels it must have, in this order; None takes those of the file.
        digest: the data set it must be made from; None, or a file without origin, skips the check.

    Raises DataError for a file that is missing or damaged, has other labels, repeated studies or
    values outside 0 to 1, or was made from another data set.
    """
    path = Path(path)
    table, origin = _load(path)
    if UID not in table.columns:
        column = competitions.current().column(UID)
        raise DataError(f"{path}: no column {column}; found {', '.join(map(str, table.columns))}")
    labels = LabelSchema.from_columns(table.columns, where=str(path))
    if schema is not None and labels != schema:
        missing = [name for name in schema.names if name not in labels.names]
        if missing:
            raise DataError(
                f"{path}: missing {', '.join(missing)}; predict with this data set's labels"
            )
        labels = schema
    check_dataset(path, origin.dataset_digest, digest, "predict")
    repeated = table[UID][table[UID].duplicated()]
    if len(repeated):
        raise DataError(
            f"{path}: {repeated.iloc[0]} appears more than once; keep one row per study"
        )
    try:
        values = table[list(labels.names)].to_numpy(np.float32)
    except ValueError:
        raise DataError(f"{path}: a probability is not a number; expected 0 to 1") from None
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{path}: {table[UID].iloc[row]} has {values[row, column]} for {labels.names[column]}; "
            "expected a probability from 0 to 1"
        )
    return Predictions(table[UID].astype(str).to_numpy(), values, labels, origin)


def _load(path: Path) -> tuple[pd.DataFrame, Origin]:
    if not path.is_file():
        raise DataError(f"{path}: no such predictions file; make it with ranzcr predict")
    unknown = Origin(experiment=path.name.split(".")[0])
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            table = pyarrow.parquet.read_table(path)
            stored = (table.schema.metadata or {}).get(_KEY)
            origin = _origin(json.loads(stored)) if stored else unknown
            return table.to_pandas(), origin
        frame = competitions.current().read_csv(path)
        return frame.drop(columns=PATIENT, errors="ignore"), unknown
    except (ValueError, OSError) as error:  # pyarrow's and pandas' parse errors are ValueErrors
        problem = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a predictions file ({problem}); predict again") from None


def _origin(stored: dict[str, Any]) -> Origin:
    """Return the origin; files of version 0.1 have fold "0" for 0 and "" for no value."""
    fields = {
        key: stored[key]
        for key in Origin.__dataclass_fields__
        if key == "experiment" or stored.get(key) not in (None, "")
    }
    if "fold" in fields:
        fields["fold"] = int(fields["fold"])
    return Origin(**{**fields, "members": tuple(fields.get("members", ()))})
