"""The blend methods on six real models: cross-fitted score, and score on the rows of the search.

python benchmarks/blend.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ranzcr import predictions
from ranzcr.data.folds import assign_folds
from ranzcr.ensemble import blend
from ranzcr.ensemble.auc import macro_auc
from ranzcr.ensemble.score import Truth
from ranzcr.extensions import BLEND_METHODS

REAL = Path(__file__).parents[2] / "shared" / "data" / "ranzcr"
FOLDS = 5


def main() -> None:
    if not REAL.is_dir():
        sys.exit(f"skipped: no folder {REAL}")
    parts = [predictions.read(file) for file in sorted((REAL / "oof").glob("*.csv.gz"))]
    uids = parts[0].uids
    truth = Truth.read(REAL / "train.csv").of(uids)
    members = {part.origin.experiment: part.aligned(uids).values for part in parts}
    folds = assign_folds(truth.targets, truth.groups, FOLDS, seed=0)
    for name, values in members.items():
        print(f"{name:8} {macro_auc(truth.targets, values):.5f}")
    print("method   cross-fitted  same rows  search s  weights")
    for method in BLEND_METHODS.names():
        start = time.perf_counter()
        weights = blend.find(method, members, truth.targets)
        seconds = time.perf_counter() - start
        seen = macro_auc(truth.targets, blend.combine(members, weights))
        crossed, _ = blend.cross_fitted(method, members, truth.targets, folds)
        rounded = " ".join(f"{name}={weight:.2f}" for name, weight in weights.items() if weight)
        score = macro_auc(truth.targets, crossed)
        print(f"{method:8} {score:12.5f}  {seen:9.5f}  {seconds:8.2f}  {rounded}")


if __name__ == "__main__":
    main()
