"""Is a blend good enough for the clinic? Each gate says what it found and what it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ranzcr.cores import cores
from ranzcr.ensemble import bootstrap
from ranzcr.ensemble.auc import label_aucs
from ranzcr.ensemble.calibration import calibration_error
from ranzcr.ensemble.score import Truth
from ranzcr.predictions import Predictions
from ranzcr.registry import gate_rules
from ranzcr.registry.gate_rules import Rules
from ranzcr.registry.gates import Gate, GateReport

# On fewer studies chance alone makes an error of the size of the limit: 50 rows of a label that a
# third of them has are expected to be 0.05 off.
_CALIBRATION_ROWS = 500


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """A blend and what was measured of it."""

    digest: str  # of the blend
    dataset_digest: str  # of the data set that it was made from
    judged_on: str  # digest of the data set that it is judged on
    cv_auc_lo: float
    oof: Predictions  # cross-fitted, out-of-fold
    clean: bool  # no leak was found in the data set
    audit: str  # what was found, as one line
    parity: float  # largest |ONNX - torch| of a probability
    seconds: float  # per image
    leaderboard: Mapping[str, float]  # "public" and "private", where they are recorded


class Incumbent(Protocol):
    """The champion, as far as a gate needs it; its predictions are fetched only when compared."""

    @property
    def version(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def dataset_digest(self) -> str: ...
    @property
    def predictions(self) -> Callable[[], Predictions]: ...


def judge(
    candidate: Measurements, champion: Incumbent | None, truth: Truth, rules: Rules | None = None
) -> GateReport:
    """Judge a blend at every gate that the rules require. What cannot be measured fails."""
    rules = rules or gate_rules.load()
    case = _Case(candidate, champion, truth)
    judged = []
    for name, gate in _GATES.items():
        rule = getattr(rules, name)
        if rule.required:
            judged.append(replace(gate(case, rule), name=name, waivable=rule.waivable))
    return GateReport(tuple(judged))


@dataclass(frozen=True)
class _Contest:
    """The studies that two blends both predict."""

    targets_NL: np.ndarray
    own_NL: np.ndarray
    other_NL: np.ndarray
    patients_N: np.ndarray

    @classmethod
    def of(cls, own: Predictions, other: Predictions, truth: Truth) -> _Contest:
        known = pd.Index(truth.uids)
        common = known.intersection(own.uids, sort=False).intersection(other.uids, sort=False)
        rows, uids = known.get_indexer(common), common.to_numpy()
        return cls(
            truth.targets[rows],
            own.aligned(uids).values,
            other.aligned(uids).values,
            truth.groups[rows],
        )

    def chance(self) -> float:
        if not len(self.targets_NL):
            return float("nan")
        return bootstrap.paired(self.targets_NL, self.own_NL, self.other_NL, self.patients_N)


@dataclass(frozen=True)
class _Case:
    candidate: Measurements
    champion: Incumbent | None
    truth: Truth

    @property
    def against(self) -> str:
        """What a comparison with the champion is tied to."""
        return self.champion.digest if self.champion else ""

    @property
    def champion_named(self) -> str:
        return f"champion {self.champion.version}" if self.champion else ""

    @property
    def unopposed(self) -> str:
        """Why there is no champion to compare with; "" where there is one."""
        if self.champion is None:
            return "there is no champion yet"
        if self.champion.digest == self.candidate.digest:
            return f"this is {self.champion_named} itself"
        if self.champion.dataset_digest != self.candidate.dataset_digest:
            found = self.champion.dataset_digest[:12]
            return f"{self.champion_named} comes from another data set ({found}): not compared"
        if self._reigning.schema != self.candidate.oof.schema:
            return f"{self.champion_named} has other labels: not compared"
        return ""

    @cached_property
    def _reigning(self) -> Predictions:
        assert self.champion is not None
        return self.champion.predictions()

    @cached_property
    def contest(self) -> _Contest:
        return _Contest.of(self.candidate.oof, self._reigning, self.truth)


def _data(case: _Case, rule: Any) -> Gate:
    made, judged = case.candidate.dataset_digest, case.candidate.judged_on
    text = f"made from data set {made[:12] or 'none'}; judged on {judged[:12] or 'none'}"
    return Gate("", bool(judged) and made == judged, None, None, text)


def _audit(case: _Case, rule: Any) -> Gate:
    return Gate("", case.candidate.clean, None, None, case.candidate.audit)


def _cv(case: _Case, rule: Any) -> Gate:
    found, limit = case.candidate.cv_auc_lo, rule.at_least
    text = f"95% interval of the honest CV begins at {found:.4f}; the limit is {limit:.4f}"
    return Gate("", bool(found >= limit), _finite(found), limit, text)


def _champion(case: _Case, rule: Any) -> Gate:
    """Better than the champion on the same studies, by the paired patient bootstrap."""
    if case.unopposed:
        return Gate("", True, None, rule.above, case.unopposed, against=case.against)
    contest = case.contest
    chance, studies = contest.chance(), len(contest.targets_NL)
    text = (
        f"better than {case.champion_named} with probability {chance:.3f} on {studies} common "
        f"studies; more than {rule.above} is asked"
    )
    passed = bool(chance > rule.above)
    return Gate("", passed, _finite(chance), rule.above, text, against=case.against)


def _labels(case: _Case, rule: Any) -> Gate:
    """No label much worse than the champion's; one without both classes is left out."""
    limit = rule.at_most
    told: dict[str, Any] = {"low_is_good": True, "against": case.against}
    if case.unopposed:
        return Gate("", True, None, limit, case.unopposed, **told)
    contest = case.contest
    own_L = label_aucs(contest.targets_NL, contest.own_NL)
    other_L = label_aucs(contest.targets_NL, contest.other_NL)
    drops_L = other_L - own_L
    if np.isnan(drops_L).all():
        return Gate("", False, None, limit, "no label has both classes", **told)
    worst = int(np.nanargmax(drops_L))
    drop = float(drops_L[worst])
    text = (
        f"{case.candidate.oof.schema.names[worst]} has AUC {own_L[worst]:.4f}, "
        f"{case.champion_named} {other_L[worst]:.4f}; a loss of {limit} is the limit"
    )
    return Gate("", drop <= limit, drop, limit, text, **told)


def _calibration(case: _Case, rule: Any) -> Gate:
    known = pd.Index(case.truth.uids)
    rows = known.get_indexer(known.intersection(case.candidate.oof.uids, sort=False))
    if len(rows) < _CALIBRATION_ROWS:
        text = f"not measured on {len(rows)} studies; {_CALIBRATION_ROWS} are needed"
        return Gate("", True, None, rule.at_most, text, low_is_good=True)
    values = case.candidate.oof.aligned(case.truth.uids[rows]).values
    error = calibration_error(case.truth.targets[rows], values)
    text = f"expected calibration error is {error:.4f}; the limit is {rule.at_most}"
    passed = bool(error <= rule.at_most)
    return Gate("", passed, _finite(error), rule.at_most, text, low_is_good=True)


def _parity(case: _Case, rule: Any) -> Gate:
    found, limit = case.candidate.parity, rule.at_most
    text = f"ONNX differs from torch by at most {found:.1e}; the limit is {limit:.0e}"
    return Gate("", bool(found <= limit), _finite(found), limit, text, low_is_good=True)


def _latency(case: _Case, rule: Any) -> Gate:
    found, limit = case.candidate.seconds, rule.at_most
    text = f"{found:.3g} s per image on {cores()} cores; the limit is {limit:g} s"
    # Other work on the machine makes a repeated measurement differ.
    passed = bool(found <= limit)
    return Gate("", passed, _finite(found), limit, text, low_is_good=True, noise=found / 4)


def _leaderboard(case: _Case, rule: Any) -> Gate:
    scores = case.candidate.leaderboard
    found = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    missing = "no leaderboard score is recorded; record it with ranzcr lb set, then register again"
    return Gate("", bool(scores), None, None, found or missing)


_GATES: dict[str, Callable[[_Case, Any], Gate]] = {
    "data": _data,
    "audit": _audit,
    "cv": _cv,
    "champion": _champion,
    "labels": _labels,
    "calibration": _calibration,
    "parity": _parity,
    "latency": _latency,
    "lb": _leaderboard,
}


def _finite(value: float) -> float | None:
    """None in place of NaN, which JSON does not have."""
    return float(value) if np.isfinite(value) else None
