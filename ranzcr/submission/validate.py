"""The check of a submission.csv against the rules of the competition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ranzcr import competitions
from ranzcr.errors import DataError
from ranzcr.labels import UID


def validate(submission_csv: Path | str, sample_csv: Path | str) -> int:
    """Compare a submission with sample_submission.csv; return its number of studies.

    The columns must be the sample's in its order, the studies the sample's in any order, each
    once, and each value a probability. Raises DataError for the first problem.
    """
    submission, sample = _read(submission_csv), _read(sample_csv)
    _check_columns(submission_csv, _names(submission), _names(sample))
    _check_studies(submission_csv, submission[UID], sample[UID])
    _check_values(submission_csv, submission)
    return len(submission)


def _read(path: Path | str) -> pd.DataFrame:
    try:
        table = competitions.current().read_csv(path)
    except (OSError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a submission table ({problem}); make it again") from None
    if UID not in table.columns:
        column = competitions.current().column(UID)
        raise DataError(f"{path}: no column {column}; found {', '.join(table.columns)}")
    return table


def _names(table: pd.DataFrame) -> list[str]:
    return list(competitions.current().to_files(table).columns)


def _check_columns(path: Path | str, columns: list[str], expected: list[str]) -> None:
    if columns == expected:
        return
    missing = [name for name in expected if name not in columns]
    unknown = [name for name in columns if name not in expected]
    if missing:
        problem = f"missing column {', '.join(missing)}"
    elif unknown:
        problem = f"unknown column {', '.join(unknown)}"
    else:
        first = next(index for index in range(len(columns)) if columns[index] != expected[index])
        problem = f"column {first + 1} is {columns[first]}, expected {expected[first]}"
    raise DataError(f"{path}: {problem}; keep the columns of sample_submission.csv in their order")


def _check_studies(path: Path | str, uids: pd.Series, expected: pd.Series) -> None:
    repeated = uids[uids.duplicated()]
    if len(repeated):
        raise DataError(
            f"{path}: {repeated.iloc[0]} appears more than once; keep one row per study"
        )
    missing = expected[~expected.isin(uids)]
    if len(missing):
        raise DataError(
            f"{path}: {len(missing)} studies of sample_submission.csv are missing, "
            f"e.g. {missing.iloc[0]}; predict them"
        )
    unknown = uids[~uids.isin(expected)]
    if len(unknown):
        raise DataError(
            f"{path}: {len(unknown)} studies are not in sample_submission.csv, "
            f"e.g. {unknown.iloc[0]}; leave them out"
        )


def _check_values(path: Path | str, submission: pd.DataFrame) -> None:
    for label in submission.columns.drop(UID):
        values = pd.to_numeric(submission[label], errors="coerce").to_numpy(np.float64)
        bad = ~((values >= 0) & (values <= 1))  # NaN too
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"{path}: {submission[UID].iloc[row]} has {submission[label].iloc[row]} for "
                f"{label}; expected a probability from 0 to 1"
            )
