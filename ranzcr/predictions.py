"""The predictions file: what every stage after training speaks.

One parquet file: `StudyInstanceUID` and one float32 probability column per label in schema order.
File metadata says where it comes from; every reader checks the labels and the data set's digest.
Submission-form CSV (also .csv.gz) is read too; it carries no origin.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ranzcr.errors import DataError
from ranzcr.files import replacing
from ranzcr.labels import PATIENT, UID, LabelSchema

_KEY = b"ranzcr"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where predictions come from. `fold` is "" for what covers all folds; `members` are the
    experiments of a blend."""

    experiment: str
    fold: str = ""
    seed: int = 0
    split: str = "train"  # train (out-of-fold), test or external
    dataset_digest: str = ""
    run_id: str = ""  # of MLflow
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
        """UID + one column per label."""
        table = pd.DataFrame(np.asarray(self.values, np.float32), columns=list(self.schema.names))
        table.insert(0, UID, np.asarray(self.uids, dtype=object))
        return table

    def aligned(self, uids: Sequence[str] | np.ndarray) -> Predictions:
        """The same predictions in the order of `uids`. Raises DataError where one is missing."""
        order = pd.Index(self.uids).get_indexer(pd.Index(uids))
        if (order < 0).any():
            missing = np.asarray(uids)[order < 0]
            raise DataError(
                f"predictions of {self.origin.experiment or 'a file'}: {len(missing)} studies are "
                f"missing, {missing[0]} among them; predict them first"
            )
        return replace(self, uids=np.asarray(uids), values=self.values[order])

    def write(self, path: Path | str) -> None:
        """Write parquet, or submission-form CSV where the name ends in .csv or .csv.gz."""
        with replacing(path) as beside:
            if str(path).endswith((".csv", ".csv.gz")):
                self.frame().to_csv(beside, index=False)
                return
            import pyarrow
            import pyarrow.parquet

            table = pyarrow.Table.from_pandas(self.frame(), preserve_index=False)
            origin = json.dumps(asdict(self.origin)).encode()
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: origin})
            pyarrow.parquet.write_table(table, beside)


def read(path: Path | str, schema: LabelSchema | None = None, digest: str = "") -> Predictions:
    """Read a predictions file and check it.

    Args:
        path: .parquet, .csv or .csv.gz.
        schema: the labels it must have, in this order; None takes the file's own.
        digest: the data set it must speak of; "" or a file without origin skips the check.

    Raises DataError for a file that is missing, damaged, has other labels, repeated studies, values
    outside 0 to 1, or comes from another data set.
    """
    path = Path(path)
    table, origin = _load(path)
    if UID not in table.columns:
        raise DataError(f"{path}: no column {UID}; found {', '.join(map(str, table.columns))}")
    own = LabelSchema.from_columns(table.columns, where=str(path))
    if schema is not None and own != schema:
        missing = [name for name in schema.names if name not in own.names]
        if missing:
            raise DataError(
                f"{path}: missing {', '.join(missing)}; predict with this data set's labels"
            )
        own = schema
    if digest and origin.dataset_digest and origin.dataset_digest != digest:
        raise DataError(
            f"{path}: made from data set {origin.dataset_digest[:12]}, expected {digest[:12]}; "
            "predict again with this data set"
        )
    repeated = table[UID][table[UID].duplicated()]
    if len(repeated):
        raise DataError(
            f"{path}: {repeated.iloc[0]} appears more than once; keep one row per study"
        )
    try:
        values = table[list(own.names)].to_numpy(np.float32)
    except ValueError:
        raise DataError(f"{path}: a probability is not a number; expected 0 to 1") from None
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{path}: {table[UID].iloc[row]} has {values[row, column]} for {own.names[column]}; "
            "expected a probability from 0 to 1"
        )
    return Predictions(table[UID].astype(str).to_numpy(), values, own, origin)


def _load(path: Path) -> tuple[pd.DataFrame, Origin]:
    if not path.is_file():
        raise DataError(f"{path}: no such predictions file; make it with ranzcr predict")
    nameless = Origin(experiment=path.name.split(".")[0])
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            table = pyarrow.parquet.read_table(path)
            stored = (table.schema.metadata or {}).get(_KEY)
            origin = _origin(json.loads(stored)) if stored else nameless
            return table.to_pandas(), origin
        frame = pd.read_csv(path, dtype={UID: str})
        return frame.drop(columns=PATIENT, errors="ignore"), nameless
    except (ValueError, OSError) as error:  # pyarrow's and pandas' parse errors are ValueErrors
        problem = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a predictions file ({problem}); predict again") from None


def _origin(stored: dict) -> Origin:
    known = {key: stored[key] for key in Origin.__dataclass_fields__ if key in stored}
    return Origin(**{**known, "members": tuple(known.get("members", ()))})
