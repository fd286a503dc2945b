"""Calibration: the agreement of probabilities with observed frequencies."""

from __future__ import annotations

import numpy as np

from ranzcr.ensemble.auc import mean_defined

# Shape suffixes: N rows, L labels.
BINS = 15
_ROWS = 50  # of a bin, if there are so many: fewer measure mostly chance


def calibration_error(targets_NL: np.ndarray, values_NL: np.ndarray) -> float:
    """Return the expected calibration error, mean over the labels; NaN if no label has rows.

    Args:
        targets_NL: 1, 0, or below 0 if a row is left out for a label.
        values_NL: probabilities.

    Rows are sorted by probability and cut into bins of equal size, 15 if each gets 50 rows; the
    error is the mean over rows of |share of positives - mean probability| of their bin. (Guo et
    al. 2017, "On calibration of modern neural networks", with the bins of equal size of Nixon et
    al. 2019, "Measuring calibration in deep learning": with bins of equal width nearly all rows
    of a rare label fall into the first.) 0 is perfect.
    """
    columns = zip(np.asarray(targets_NL).T, np.asarray(values_NL).T, strict=True)
    return mean_defined(np.array([_label_error(*column) for column in columns], np.float64))


def _label_error(targets_N: np.ndarray, values_N: np.ndarray) -> float:
    labelled = targets_N >= 0
    order = np.argsort(values_N[labelled], kind="stable")
    if not order.size:
        return float("nan")
    targets = targets_N[labelled][order].astype(np.float64)
    values = values_N[labelled][order].astype(np.float64)
    bins = max(1, min(BINS, order.size // _ROWS))
    gaps = [abs((part).sum()) for part in np.array_split(targets - values, bins)]
    return float(sum(gaps) / order.size)
