"""The gates: each is one function that compares a measurement with its limit.

To add a gate, write a function here and its settings in gates.yaml. A gate of your own needs no
change here: name it `my_package.gates.my_gate` in the file that `--gates` takes.
"""

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
from ranzcr.extensions import GATES
from ranzcr.predictions import Predictions
from ranzcr.registry import gate_rules
from ranzcr.registry.gate_rules import Rule, Rules
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
    audit: str  # the findings of the audit, as one line
    parity: float  # largest |ONNX - torch| of a probability
    seconds: float  # per image
    leaderboard: Mapping[str, float]  # by "public" and "private", if recorded


class Incumbent(Protocol):
    """The champion, as gates see it; its predictions are fetched only to be compared."""

    @property
    def version(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def dataset_digest(self) -> str: ...
    @property
    def predictions(self) -> Callable[[], Predictions]: ...


@dataclass(frozen=True)
class Case:
    """The input of a gate: the candidate's measurements, the champion, the labels."""

    candidate: Measurements
    champion: Incumbent | None
    truth: Truth

    @property
    def against(self) -> str:
        """The blend digest of the champion compared with, "" without a champion."""
        return self.champion.digest if self.champion else ""

    @property
    def champion_name(self) -> str:
        return f"champion {self.champion.version}" if self.champion else ""

    @property
    def unopposed(self) -> str:
        """Why there is no champion to compare with; "" if there is one."""
        if self.champion is None:
            return "there is no champion yet"
        if self.champion.digest == self.candidate.digest:
            return f"this is {self.champion_name} itself"
        if self.champion.dataset_digest != self.candidate.dataset_digest:
            digest = self.champion.dataset_digest[:12]
            return f"{self.champion_name} comes from another data set ({digest}): not compared"
        if self._champion_oof.schema != self.candidate.oof.schema:
            return f"{self.champion_name} has other labels: not compared"
        return ""

    @cached_property
    def comparison(self) -> Comparison:
        """The studies that the candidate and the champion both predict."""
        own, other = self.candidate.oof, self._champion_oof
        known = pd.Index(self.truth.uids)
        common = known.intersection(own.uids, sort=False).intersection(other.uids, sort=False)
        rows, uids = known.get_indexer(common), common.to_numpy()
        return Comparison(
            self.truth.targets[rows],
            own.aligned(uids).values,
            other.aligned(uids).values,
            self.truth.groups[rows],
        )

    @cached_property
    def _champion_oof(self) -> Predictions:
        assert self.champion is not None
        return self.champion.predictions()


@dataclass(frozen=True)
class Comparison:
    """The predictions of a candidate and of the champion for the same N studies and L labels."""

    targets_NL: np.ndarray
    own_NL: np.ndarray
    other_NL: np.ndarray
    patients_N: np.ndarray


def judge(
    candidate: Measurements, champion: Incumbent | None, truth: Truth, rules: Rules | None = None
) -> GateReport:
    """Judge a blend at every gate that is required. A value that cannot be measured fails."""
    rules = rules or gate_rules.load()
    case = Case(candidate, champion, truth)
    gates = []
    for name, rule in rules.gates.items():
        if rule.required:
            gate = GATES.get(name)(case, rule)
            gates.append(replace(gate, name=name, waivable=rule.waivable))
    return GateReport(tuple(gates))


def result(
    passed: bool, text: str, value: float | None = None, limit: float | None = None, **details: Any
) -> Gate:
    """Return the result of a gate; `judge` adds its name. `details` are other fields of Gate."""
    value = None if value is None or np.isnan(value) else float(value)  # JSON has no NaN
    return Gate("", bool(passed), value, limit, text, **details)


def at_least(value: float, limit: float, text: str) -> Gate:
    """Pass if the value reaches the limit."""
    return result(value >= limit, text, value, limit)


def at_most(value: float, limit: float, text: str, **details: Any) -> Gate:
    """Pass if the value is not above the limit."""
    return result(value <= limit, text, value, limit, low_is_good=True, **details)


@GATES.register("data")
def data(case: Case, rule: Rule) -> Gate:
    origin, judged = case.candidate.dataset_digest, case.candidate.judged_on
    text = f"made from data set {origin[:12] or 'none'}; judged on {judged[:12] or 'none'}"
    return result(bool(judged) and origin == judged, text)


@GATES.register("audit")
def audit(case: Case, rule: Rule) -> Gate:
    return result(case.candidate.clean, case.candidate.audit)


@GATES.register("cv")
def cv(case: Case, rule: Rule) -> Gate:
    value, limit = case.candidate.cv_auc_lo, rule.limit
    text = f"95% interval of the cross-fitted CV begins at {value:.4f}; the limit is {limit:.4f}"
    return at_least(value, limit, text)


@GATES.register("champion")
def champion(case: Case, rule: Rule) -> Gate:
    """Better than the champion on the same studies, by the paired patient bootstrap."""
    limit, against = rule.limit, case.against
    if case.unopposed:
        return result(True, case.unopposed, limit=limit, against=against)
    both = case.comparison
    studies = len(both.targets_NL)
    chance = float("nan")
    if studies:
        chance = bootstrap.paired(both.targets_NL, both.own_NL, both.other_NL, both.patients_N)
    text = (
        f"better than {case.champion_name} with probability {chance:.3f} on {studies} common "
        f"studies; must be above {limit}"
    )
    return result(chance > limit, text, chance, limit, against=against)


@GATES.register("labels")
def labels(case: Case, rule: Rule) -> Gate:
    """No label much worse than the champion's; one without both classes is left out."""
    limit, against = rule.limit, case.against
    if case.unopposed:
        return result(True, case.unopposed, limit=limit, low_is_good=True, against=against)
    both = case.comparison
    own_L = label_aucs(both.targets_NL, both.own_NL)
    other_L = label_aucs(both.targets_NL, both.other_NL)
    drops_L = other_L - own_L
    if np.isnan(drops_L).all():
        text = "no label has both classes"
        return result(False, text, limit=limit, low_is_good=True, against=against)
    worst = int(np.nanargmax(drops_L))
    text = (
        f"{case.candidate.oof.schema.names[worst]} has AUC {own_L[worst]:.4f}, "
        f"{case.champion_name} {other_L[worst]:.4f}; the largest loss allowed is {limit}"
    )
    return at_most(float(drops_L[worst]), limit, text, against=against)


@GATES.register("calibration")
def calibration(case: Case, rule: Rule) -> Gate:
    known = pd.Index(case.truth.uids)
    rows = known.get_indexer(known.intersection(case.candidate.oof.uids, sort=False))
    if len(rows) < _CALIBRATION_ROWS:
        text = f"not measured on {len(rows)} studies; {_CALIBRATION_ROWS} are needed"
        return result(True, text, limit=rule.limit, low_is_good=True)
    values = case.candidate.oof.aligned(case.truth.uids[rows]).values
    error = calibration_error(case.truth.targets[rows], values)
    text = f"expected calibration error is {error:.4f}; the limit is {rule.limit}"
    return at_most(error, rule.limit, text)


@GATES.register("parity")
def parity(case: Case, rule: Rule) -> Gate:
    value, limit = case.candidate.parity, rule.limit
    text = f"ONNX differs from torch by at most {value:.1e}; the limit is {limit:.0e}"
    return at_most(value, limit, text)


@GATES.register("latency")
def latency(case: Case, rule: Rule) -> Gate:
    value, limit = case.candidate.seconds, rule.limit
    text = f"{value:.3g} s per image on {cores()} cores; the limit is {limit:g} s"
    # Other work on the machine makes a repeated measurement differ.
    return at_most(value, limit, text, noise=value / 4)


@GATES.register("lb")
def leaderboard(case: Case, rule: Rule) -> Gate:
    scores = case.candidate.leaderboard
    text = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    missing = "no leaderboard score is recorded; record it with ranzcr lb set, then register again"
    return result(bool(scores), text or missing)
