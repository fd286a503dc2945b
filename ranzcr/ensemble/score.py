"""Score predictions against a table of labels: macro AUC, its interval, each label's AUC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ranzcr import competitions, predictions
from ranzcr.documents import Scores
from ranzcr.ensemble.auc import label_aucs, mean_defined
from ranzcr.ensemble.bootstrap import interval
from ranzcr.errors import DataError
from ranzcr.labels import PATIENT, UID, LabelSchema
from ranzcr.predictions import Predictions


@dataclass(frozen=True)
class Truth:
    """The labels and patients of N studies."""

    uids: np.ndarray  # (N,) of str
    targets: np.ndarray  # (N, L) int8, 0 or 1; below 0 if a row is left out
    patients: np.ndarray  # (N,) of str; "" if the table has no patients
    schema: LabelSchema

    @property
    def groups(self) -> np.ndarray:
        """Return (N,) of str: the patient, or the study itself if it has no patient."""
        return np.where(self.patients == "", self.uids, self.patients)

    @classmethod
    def read(cls, train_csv: Path | str) -> Truth:
        """Read the labels. Raises DataError unless they are 0 or 1."""
        try:
            table = competitions.current().read_csv(train_csv)
        except (OSError, ValueError) as error:
            problem = " ".join(str(error).split())[:200]
            raise DataError(f"{train_csv}: not a table of labels ({problem})") from None
        if UID not in table.columns:
            column = competitions.current().column(UID)
            raise DataError(f"{train_csv}: no column {column}; found {', '.join(table.columns)}")
        schema = LabelSchema.from_columns(table.columns, where=str(train_csv))
        wrong = ~table[list(schema.names)].isin([0, 1]).to_numpy()
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            label = schema.names[column]
            raise DataError(
                f"{train_csv}: {table[UID].iloc[row]} has {table[label].iloc[row]} for {label}; "
                "expected 0 or 1"
            )
        return cls.of_table(table, schema)

    @classmethod
    def of_table(cls, table: pd.DataFrame, schema: LabelSchema) -> Truth:
        """Take the labels of a table with a UID, a column per label and perhaps patients."""
        patients = table[PATIENT].fillna("") if PATIENT in table else pd.Series("", table.index)
        return cls(
            table[UID].to_numpy(str),
            table[list(schema.names)].to_numpy(np.int8),
            patients.to_numpy(str),
            schema,
        )

    def of(self, uids: np.ndarray, where: str = "predictions") -> Truth:
        """Return the rows of `uids` in their order. Raises DataError for a study without labels."""
        rows = pd.Index(self.uids).get_indexer(pd.Index(uids))
        if (rows < 0).any():
            unknown = np.asarray(uids)[rows < 0]
            raise DataError(
                f"{where}: {len(unknown)} studies have no labels, e.g. {unknown[0]}; "
                "give the table that they come from"
            )
        return Truth(self.uids[rows], self.targets[rows], self.patients[rows], self.schema)


def summary(predicted: Predictions, truth: Truth) -> Scores:
    """Return the macro AUC, its 95% interval by patient bootstrap, and each label's AUC.

    An AUC is None if it is not defined (a label without a positive or a negative row). The rows of
    both must match.
    """
    aucs = label_aucs(truth.targets, predicted.values)
    lo, hi = interval(truth.targets, predicted.values, truth.groups)
    return Scores(
        cv_auc=mean_defined(aucs),
        cv_auc_lo=lo,
        cv_auc_hi=hi,
        auc=dict(zip(truth.schema.names, aucs.tolist(), strict=True)),
    )


def score(predictions_file: Path | str, train_csv: Path | str) -> tuple[Scores, Truth]:
    """Score a predictions file against train.csv, which may have more studies.

    Returns the scores and the labels of the studies that were scored.
    """
    truth = Truth.read(train_csv)
    predicted = predictions.read(predictions_file, truth.schema)
    truth = truth.of(predicted.uids, where=str(predictions_file))
    return summary(predicted, truth), truth
