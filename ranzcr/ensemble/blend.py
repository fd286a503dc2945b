"""Weights for a mean of several members' probabilities, found on out-of-fold predictions.

    mean      all members alike
    subset    the best mean of some members, every subset tried
    weights   greedy forward selection with replacement (Caruana et al., ICML 2004), averaged over
              resampled rows (bagged selection, section 2.3 there)

A method is a function that is registered by name: (E, N, L) probabilities and (N, L) targets in,
(E,) weights out. Scored on the rows that they were found on, weights look too good: `cross_fitted`
finds those for the rows of a fold on the other folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from ranzcr.ensemble.auc import macro_auc
from ranzcr.errors import ConfigError
from ranzcr.extensions import BLEND_METHODS
from ranzcr.progress import track

# Shape suffixes: E members, N rows, L labels.

ROUNDS = 20  # draws of the greedy search, so weights are multiples of about 1/20
BAGS = 10  # resampled searches that are averaged
MOST_FOR_SUBSET = 12  # members; 4,095 subsets


def find(
    method: str, members: Mapping[str, np.ndarray], targets_NL: np.ndarray
) -> dict[str, float]:
    """Return the weight of each member: 0 or more, with a sum of 1.

    Args:
        method: a registered name, or the dotted path of a function.
        members: name -> (N, L) probabilities, rows as in `targets_NL`.
        targets_NL: 1, 0, or below 0 / NaN if a row is left out for a label.

    Raises ConfigError for an unknown method, for a method that returns other things than weights,
    or for more members than "subset" can try.
    """
    if not members:
        raise ValueError("no members to blend")
    members_ENL = np.stack(list(members.values()))
    weights_E = np.asarray(BLEND_METHODS.get(method)(members_ENL, targets_NL), np.float64)
    are_weights = weights_E.shape == (len(members),) and (weights_E >= 0).all()
    if not (are_weights and np.isclose(weights_E.sum(), 1)):
        raise ConfigError(
            f"blend method {method}: returned {str(weights_E)[:60]}; expected {len(members)} "
            "weights of 0 or more with a sum of 1"
        )
    return dict(zip(members, weights_E.tolist(), strict=True))


def combine(members: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """Return the weighted mean of the members' probabilities, (N, L) float32."""
    blended = sum(weights[name] * np.asarray(values) for name, values in members.items())
    return np.clip(blended, 0, 1).astype(np.float32)  # rounding may leave 1 + 1e-8


def cross_fitted(
    method: str, members: Mapping[str, np.ndarray], targets_NL: np.ndarray, folds_N: np.ndarray
) -> tuple[np.ndarray, dict[int, dict[str, float]]]:
    """Return the out-of-fold blend, (N, L), and the weights used for each fold.

    The weights for the rows of a fold are found on the rows of all other folds, so the score of the
    blend is out-of-fold, as its members' scores are.
    """
    folds_N = np.asarray(folds_N)
    present = np.unique(folds_N)
    if present.size < 2:
        raise ValueError("cross-fitting needs 2 folds or more")
    blended = np.empty(targets_NL.shape, np.float32)
    weights: dict[int, dict[str, float]] = {}
    for fold in track(present.tolist(), "Blending folds"):
        inside = folds_N == fold
        others = {name: values[~inside] for name, values in members.items()}
        weights[fold] = find(method, others, targets_NL[~inside])
        held_out = {name: values[inside] for name, values in members.items()}
        blended[inside] = combine(held_out, weights[fold])
    return blended, weights


@BLEND_METHODS.register("mean")
def _mean(members_ENL: np.ndarray, _targets_NL: np.ndarray) -> np.ndarray:
    return np.full(len(members_ENL), 1 / len(members_ENL))


@BLEND_METHODS.register("subset")
def _subset(members_ENL: np.ndarray, targets_NL: np.ndarray) -> np.ndarray:
    """Choose the subset with the best mean; of several, the smallest."""
    count = len(members_ENL)
    if count > MOST_FOR_SUBSET:
        raise ConfigError(
            f"blend method subset tries every subset of at most {MOST_FOR_SUBSET} members; "
            f"found {count}. Use method weights"
        )
    subsets = [
        list(some) for size in range(1, count + 1) for some in combinations(range(count), size)
    ]
    # The order of a sum is that of the mean.
    scores = [_score(targets_NL, members_ENL[some].sum(axis=0)) for some in subsets]
    best = subsets[int(np.argmax(scores))]
    return np.bincount(best, minlength=count) / len(best)


@BLEND_METHODS.register("weights")
def _weights(members_ENL: np.ndarray, targets_NL: np.ndarray) -> np.ndarray:
    """Average greedy searches on resampled rows, since one search depends on chance (README.md)."""
    rng = np.random.default_rng(0)
    count = len(targets_NL)
    bags = (rng.integers(0, count, count) for _ in range(BAGS))
    searches = [_greedy(members_ENL[:, rows], targets_NL[rows]) for rows in bags]
    mean_E: np.ndarray = np.mean(searches, axis=0)
    return mean_E


def _greedy(members_ENL: np.ndarray, targets_NL: np.ndarray) -> np.ndarray:
    """Start with the best member, add the most useful one again and again, keep the best state.

    A member that is added several times weighs more. The start makes sure that the result is never
    worse than the best member on the rows of the search.
    """
    alone = [_score(targets_NL, member) for member in members_ENL]
    chosen = [int(np.argmax(alone))]
    total_NL = members_ENL[chosen[0]].astype(np.float64)
    best_score, best_size = alone[chosen[0]], 1
    for size in range(2, ROUNDS + 1):
        scores = [_score(targets_NL, total_NL + member) for member in members_ENL]
        added = int(np.argmax(scores))
        chosen.append(added)
        total_NL += members_ENL[added]
        if scores[added] > best_score:
            best_score, best_size = scores[added], size
    return np.bincount(chosen[:best_size], minlength=len(members_ENL)) / best_size


def _score(targets_NL: np.ndarray, scores_NL: np.ndarray) -> float:
    """Return the macro AUC; 0.5, no skill, if no label has both classes."""
    score = macro_auc(targets_NL, scores_NL)
    return 0.5 if np.isnan(score) else score
