"""Macro AUC and one patient bootstrap replicate against scikit-learn, on the real label table.

python benchmarks/auc.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from ranzcr.ensemble.auc import macro_auc
from ranzcr.ensemble.bootstrap import PatientAuc
from ranzcr.ensemble.score import Truth

TABLE = Path(__file__).parents[2] / "shared" / "data" / "ranzcr" / "train.csv"


def best(call: Callable[[], object], repeats: int = 15) -> float:
    """Milliseconds of the fastest of `repeats` calls."""
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return 1000 * min(spent)


def main() -> None:
    if not TABLE.is_file():
        sys.exit(f"skipped: {TABLE} is not there")
    truth = Truth.read(TABLE)
    rng = np.random.default_rng(0)
    scores = (2 * truth.targets + rng.normal(size=truth.targets.shape)).astype(np.float32)
    presorted = PatientAuc(truth.targets, scores, truth.groups)
    drawn = rng.integers(presorted.patients, size=presorted.patients)
    weights = np.bincount(drawn, minlength=presorted.patients)
    rows = np.repeat(np.arange(len(scores)), weights[_numbers(truth.groups)])
    targets, repeated = truth.targets[rows], scores[rows]
    assert np.isclose(macro_auc(truth.targets, scores), roc_auc_score(truth.targets, scores))
    assert np.isclose(presorted.label_aucs(weights).mean(), roc_auc_score(targets, repeated))
    print(f"{len(scores)} rows, {presorted.patients} patients, {scores.shape[1]} labels")
    _report(
        "macro AUC",
        best(lambda: macro_auc(truth.targets, scores)),
        best(lambda: roc_auc_score(truth.targets, scores), 5),
    )
    _report(
        "bootstrap replicate",
        best(lambda: presorted.label_aucs(weights)),
        best(lambda: roc_auc_score(targets, repeated), 5),
    )


def _numbers(patients: np.ndarray) -> np.ndarray:
    """Each row's patient as its place in the order of appearance."""
    places: dict[str, int] = {}
    return np.array([places.setdefault(patient, len(places)) for patient in patients])


def _report(what: str, ours: float, sklearn: float) -> None:
    print(f"{what}: {ours:.2f} ms, scikit-learn {sklearn:.1f} ms, {sklearn / ours:.1f}x")


if __name__ == "__main__":
    main()
