"""Hand-made labels and predictions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest


class Studies(NamedTuple):
    targets: np.ndarray  # (N, L) int8
    members: dict[str, np.ndarray]  # (N, L) float32 probabilities, better from left to right
    patients: np.ndarray
    folds: np.ndarray


@pytest.fixture(scope="session")
def studies() -> Studies:
    """240 rows of 60 patients, 3 labels, 4 folds of whole patients, members of unequal skill."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 4)
    targets = (rng.random((240, 3)) < (0.1, 0.4, 0.7)).astype(np.int8)
    members = {
        name: (1 / (1 + np.exp(-(skill * targets + rng.normal(size=targets.shape) - 1)))).astype(
            np.float32
        )
        for name, skill in {"weak": 0.3, "fair": 1.2, "good": 1.5}.items()
    }
    return Studies(targets, members, np.char.add("p", patient.astype(str)), patient % 4)
