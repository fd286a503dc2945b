"""Exact ROC AUC, fast enough to search blends with.

The AUC of a label is the chance that a positive row scores higher than a negative one; a tie counts
one half (Hanley and McNeil 1982). Sorting the negatives and looking the positives up among them
counts all pairs at once.
"""

from __future__ import annotations

import numpy as np

# Shape suffixes in this room: N rows, L labels, P positives, M negatives.


def label_aucs(targets_NL: np.ndarray, scores_NL: np.ndarray) -> np.ndarray:
    """Return the AUC of each label, (L,) float64.

    Args:
        targets_NL: 1 positive, 0 negative; a row below 0 or NaN is left out for that label.
        scores_NL: any real numbers; only their order counts.

    A label is NaN if it has no positive or no negative row, or if a score is NaN.
    """
    targets_NL, scores_NL = np.asarray(targets_NL), np.asarray(scores_NL)
    if targets_NL.shape != scores_NL.shape or targets_NL.ndim != 2:
        raise ValueError(f"targets {targets_NL.shape} and scores {scores_NL.shape} must be (N, L)")
    columns = zip(targets_NL.T, scores_NL.T, strict=True)
    return np.array([_auc(targets, scores) for targets, scores in columns], np.float64)


def macro_auc(targets_NL: np.ndarray, scores_NL: np.ndarray) -> float:
    """Return the mean over the labels that have an AUC; NaN if none has."""
    return mean_defined(label_aucs(targets_NL, scores_NL))


def mean_defined(aucs_L: np.ndarray) -> float:
    """Return the mean without NaNs; NaN if there is nothing else."""
    defined = aucs_L[~np.isnan(aucs_L)]
    return float(defined.mean()) if defined.size else float("nan")


def _auc(targets_N: np.ndarray, scores_N: np.ndarray) -> float:
    positives_P = np.sort(scores_N[targets_N == 1])
    negatives_M = np.sort(scores_N[targets_N == 0])
    if not (positives_P.size and negatives_M.size):
        return float("nan")
    if np.isnan(positives_P[-1]) or np.isnan(negatives_M[-1]):  # sorting puts NaN last
        return float("nan")
    below = np.searchsorted(negatives_M, positives_P, "left").sum()
    not_above = np.searchsorted(negatives_M, positives_P, "right").sum()
    return float(below + not_above) / (2 * positives_P.size * negatives_M.size)
