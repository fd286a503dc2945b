"""Intervals of an AUC by the patient bootstrap.

Studies of one patient resemble each other, so whole patients are drawn with replacement. Drawing a
patient twice is the same as giving each of its rows weight 2; the order of the scores never
changes. So rows are sorted once, and a replicate is one weighted count of pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ranzcr.ensemble.auc import mean_defined

# Shape suffixes: N rows, L labels, K patients, P positives, M negatives, R replicates.


@dataclass(frozen=True)
class _SortedLabel:
    """The sorted rows of one label, for any patient weights. Patients are 0 to K - 1."""

    positives: np.ndarray  # (P,) patient of each positive row
    negatives: np.ndarray  # (M,) patient of each negative row, by rising score
    below: np.ndarray  # (P,) number of negatives that score below each positive
    not_above: np.ndarray  # (P,) number that score below it or tie with it

    @classmethod
    def sort(cls, targets_N: np.ndarray, scores_N: np.ndarray, rows_N: np.ndarray) -> _SortedLabel:
        positive, negative = np.flatnonzero(targets_N == 1), np.flatnonzero(targets_N == 0)
        positive = positive[np.argsort(scores_N[positive])]
        negative = negative[np.argsort(scores_N[negative])]
        places = [
            np.searchsorted(scores_N[negative], scores_N[positive], side)
            for side in ("left", "right")
        ]
        return cls(rows_N[positive], rows_N[negative], *places)

    def auc(self, weights_K: np.ndarray) -> float:
        """Return the weighted AUC; NaN if the positives or the negatives weigh nothing."""
        passed = np.zeros(self.negatives.size + 1, np.int64)  # weight of the first m negatives
        np.cumsum(weights_K[self.negatives], out=passed[1:])
        weights_P = weights_K[self.positives]
        pairs = int(weights_P.sum()) * int(passed[-1])
        if pairs == 0:
            return float("nan")
        won = weights_P @ (passed[self.below] + passed[self.not_above])
        return int(won) / (2 * pairs)


class PatientAuc:
    """Label AUCs of one set of predictions under patient weights.

    Args:
        targets_NL: 1, 0, or below 0 / NaN if a row is left out for a label.
        scores_NL: finite scores.
        patients_N: patient of each row.
    """

    def __init__(
        self, targets_NL: np.ndarray, scores_NL: np.ndarray, patients_N: np.ndarray
    ) -> None:
        if np.shape(targets_NL) != np.shape(scores_NL) or len(patients_N) != len(targets_NL):
            raise ValueError(
                f"targets {np.shape(targets_NL)}, scores {np.shape(scores_NL)} and "
                f"{len(patients_N)} patients do not match"
            )
        rows_N, self.patients = _number_patients(patients_N)
        columns = zip(np.asarray(targets_NL).T, np.asarray(scores_NL).T, strict=True)
        self._labels = [_SortedLabel.sort(targets, scores, rows_N) for targets, scores in columns]

    def label_aucs(self, weights_K: np.ndarray) -> np.ndarray:
        """Return (L,) AUCs with patient k counted `weights_K[k]` times, whole numbers.

        Patients are in order of appearance. (Integers: numpy adds them up 7 times as fast.)
        """
        return np.array([label.auc(weights_K) for label in self._labels])


def interval(
    targets_NL: np.ndarray,
    scores_NL: np.ndarray,
    patients_N: np.ndarray,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval (lo, hi) of the macro AUC by resampling patients.

    A label without both classes in a replicate is left out of its mean. Both ends are NaN if no
    replicate has an AUC.
    """
    auc = PatientAuc(targets_NL, scores_NL, patients_N)
    draws = _draws(auc.patients, replicates, seed)
    macros_R = np.array([mean_defined(auc.label_aucs(weights)) for weights in draws])
    macros_R = macros_R[~np.isnan(macros_R)]
    if not macros_R.size:
        return float("nan"), float("nan")
    lo, hi = np.quantile(macros_R, [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)


def paired(
    targets_NL: np.ndarray,
    a_NL: np.ndarray,
    b_NL: np.ndarray,
    patients_N: np.ndarray,
    replicates: int = 1000,
    seed: int = 0,
) -> float:
    """Return the share of replicates in which a's macro AUC is higher than b's; a tie counts half.

    Both are scored on the same patients, and on the labels that have both classes. NaN if no
    replicate has an AUC.
    """
    return paired_labels(targets_NL, a_NL, b_NL, patients_N, replicates, seed)[0]


def paired_labels(
    targets_NL: np.ndarray,
    a_NL: np.ndarray,
    b_NL: np.ndarray,
    patients_N: np.ndarray,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[float, np.ndarray]:
    """Return the result of `paired` for the macro AUC, and (L,) the same for each label's AUC."""
    gains_RL = _gains(targets_NL, a_NL, b_NL, patients_N, replicates, seed)
    macro = _share_won(np.array([mean_defined(gains_L) for gains_L in gains_RL]))
    return macro, np.array([_share_won(gains_R) for gains_R in gains_RL.T])


def _gains(
    targets_NL: np.ndarray,
    a_NL: np.ndarray,
    b_NL: np.ndarray,
    patients_N: np.ndarray,
    replicates: int,
    seed: int,
) -> np.ndarray:
    """Return (R, L): a's label AUC minus b's in each replicate; NaN if there is none."""
    auc_a = PatientAuc(targets_NL, a_NL, patients_N)
    auc_b = PatientAuc(targets_NL, b_NL, patients_N)
    draws = _draws(auc_a.patients, replicates, seed)
    return np.array([auc_a.label_aucs(w) - auc_b.label_aucs(w) for w in draws])


def _share_won(gains_R: np.ndarray) -> float:
    gains_R = gains_R[~np.isnan(gains_R)]
    return float((np.sign(gains_R) + 1).mean() / 2) if gains_R.size else float("nan")


def _number_patients(patients_N: np.ndarray) -> tuple[np.ndarray, int]:
    """Number patients 0 to K - 1 in order of appearance; return the numbers and K."""
    _, first, rows_N = np.unique(patients_N, return_index=True, return_inverse=True)
    place_K = np.empty(first.size, np.int64)
    place_K[np.argsort(first)] = np.arange(first.size)
    return place_K[rows_N], first.size


def _draws(patients: int, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Yield for each replicate how often each of K patients was drawn, (K,) int64."""
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        drawn = rng.integers(patients, size=patients)
        yield np.bincount(drawn, minlength=patients)
