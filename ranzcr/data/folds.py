"""Folds that keep each patient whole and every label's prevalence even."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from ranzcr.data.competition import read_train
from ranzcr.errors import ConfigError, nearest
from ranzcr.labels import PATIENT, UID

# How much even fold sizes count against even prevalences; `_most_even` keeps the best outcome.
_SIZE_WEIGHTS = (1.0, 2.0, 4.0)


def assign_folds(labels: np.ndarray, patients: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deal patients into folds so that label prevalences and fold sizes are even.

    A greedy multi-label group split (7th place's idea): the patients that weigh most are dealt
    first, each to the fold that lacks most what the patient brings. Dealt a few times, with other
    weights of fold size against prevalence; the most even outcome wins. The order of rows does not
    matter.

    Args:
        labels: (N, L) of 0 and 1.
        patients: (N,) ids.
        folds: K >= 2.
        seed: orders patients of equal weight.

    Returns (N,) int8, 0 to K - 1. Raises ConfigError if there are fewer patients than folds.
    """
    ids, patient_of_row = np.unique(patients, return_inverse=True)
    _refuse_too_few(len(ids), folds)
    counts = _sum_by(patient_of_row, labels, len(ids))
    counts = counts[:, counts.sum(axis=0) > 0]
    rows = np.bincount(patient_of_row).astype(float)[:, None]
    label_shares, row_shares = folds * counts / counts.sum(axis=0), folds * rows / rows.sum()
    surplus = label_shares - row_shares  # what a patient does to a fold's prevalences
    loads = [np.hstack([label_shares, row_shares])]
    loads += [np.hstack([surplus, weight * row_shares]) for weight in _SIZE_WEIGHTS]
    order = np.random.default_rng(seed).permutation(len(ids))
    deals = [_deal(load, order, folds) for load in loads]
    return _most_even(deals, counts, rows, folds)[patient_of_row].astype(np.int8)


def fold_table(train_csv: Path, folds: int, seed: int, method: str = "greedy") -> pd.DataFrame:
    """UID, PatientID and fold of a train.csv, in its order.

    Args:
        method: "greedy" (ours), "stratified" or "group" (scikit-learn's).
    """
    if method not in METHODS:
        raise ConfigError(f"no fold method {method!r}; {nearest(method, METHODS)}")
    schema, train = read_train(train_csv)
    fold = METHODS[method](
        train[list(schema.names)].to_numpy(), train[PATIENT].to_numpy(), folds, seed
    )
    return train[[UID, PATIENT]].assign(fold=fold)


def compare(train_csv: Path, folds: int, seed: int) -> pd.DataFrame:
    """Every method on one train.csv, a row each.

    Columns: method, split_patients (in more than one fold), mean_deviation and max_deviation (see
    `deviations`), smallest and largest (rows of a fold), seconds.
    """
    schema, train = read_train(train_csv)
    labels, patients = train[list(schema.names)].to_numpy(), train[PATIENT].to_numpy()
    outcomes = []
    for method, assign in METHODS.items():
        start = time.perf_counter()
        fold = assign(labels, patients, folds, seed)
        seconds = time.perf_counter() - start
        outcomes.append({"method": method, **_summary(labels, patients, fold), "seconds": seconds})
    return pd.DataFrame(outcomes)


def deviations(labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """|prevalence in a fold / prevalence in all rows - 1| as (K, L); NaN for a label without
    positives."""
    prevalence = np.stack([labels[fold == k].mean(axis=0) for k in np.unique(fold)])
    overall = labels.mean(axis=0)
    ratio = np.full(prevalence.shape, np.nan)
    np.divide(prevalence, overall, out=ratio, where=overall > 0)
    return np.asarray(np.abs(ratio - 1))


def _deal(loads: np.ndarray, order: np.ndarray, folds: int) -> np.ndarray:
    """Give each patient (P, D) to the fold that it fits best; returns (P,) folds.

    The sum of squares over the folds' loads is to be least; adding v to a load s adds 2 s.v + v.v,
    so the best fold is the one with the least s.v. An empty fold comes first: with fewer than K
    patients dealt, each gets a fold of its own.
    """
    heavy_first = order[np.argsort(-np.linalg.norm(loads[order], axis=1), kind="stable")]
    fold_loads = np.zeros((folds, loads.shape[1]))
    fold_of = np.empty(len(loads), int)
    for dealt, patient in enumerate(heavy_first):
        best = dealt if dealt < folds else int(np.argmin(fold_loads @ loads[patient]))
        fold_of[patient] = best
        fold_loads[best] += loads[patient]
    return fold_of


def _most_even(
    deals: list[np.ndarray], counts: np.ndarray, rows: np.ndarray, folds: int
) -> np.ndarray:
    """The deal with the fewest (fold, label) pairs without a positive, then with the least worst
    deviation of a prevalence or a fold size."""

    def unevenness(fold_of: np.ndarray) -> tuple[int, float]:
        positives = _sum_by(fold_of, counts, folds)
        sizes = _sum_by(fold_of, rows, folds)
        size_ratio = sizes / sizes.mean()
        prevalence_ratio = positives / positives.mean(axis=0) / size_ratio
        ratios = np.hstack([prevalence_ratio, size_ratio])
        return int((positives == 0).sum()), float(np.abs(ratios - 1).max())

    return min(deals, key=unevenness)


def _sum_by(group: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    """(N, D) values summed by group, as (groups, D) float."""
    sums = np.zeros((groups, values.shape[1]))
    np.add.at(sums, group, values)
    return sums


def _summary(labels: np.ndarray, patients: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    folds_of_patient = pd.Series(fold).groupby(patients).nunique()
    deviation = deviations(labels, fold)
    sizes = np.bincount(fold)
    return {
        "split_patients": int((folds_of_patient > 1).sum()),
        "mean_deviation": float(np.nanmean(deviation)),
        "max_deviation": float(np.nanmax(deviation)),
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
    }


def _stratified(labels: np.ndarray, patients: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """scikit-learn's StratifiedGroupKFold; its classes are the combinations of labels."""
    from sklearn.model_selection import StratifiedGroupKFold

    _refuse_too_few(len(np.unique(patients)), folds)
    combination = np.unique(labels, axis=0, return_inverse=True)[1]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings(category=UserWarning, action="ignore"):  # of rare combinations
        return _folds_of(splitter.split(labels, combination, patients), len(labels))


def _group(labels: np.ndarray, patients: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """scikit-learn's GroupKFold (seed 2): patients whole, labels not looked at."""
    from sklearn.model_selection import GroupKFold

    _refuse_too_few(len(np.unique(patients)), folds)
    splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    return _folds_of(splitter.split(labels, groups=patients), len(labels))


def _folds_of(splits: Iterable[tuple[np.ndarray, np.ndarray]], rows: int) -> np.ndarray:
    fold = np.empty(rows, np.int8)
    for number, (_, held_out) in enumerate(splits):
        fold[held_out] = number
    return fold


def _refuse_too_few(patients: int, folds: int) -> None:
    if folds < 2:
        raise ConfigError(f"folds: found {folds}; a fold needs another one to learn from, use 2")
    if patients < folds:
        raise ConfigError(
            f"folds: {folds} folds of {patients} patients leave one empty; use --folds {patients}"
            if patients > 1
            else "folds: all images are of one patient; folds need at least 2 patients"
        )


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]] = {
    "greedy": assign_folds,
    "stratified": _stratified,
    "group": _group,
}
