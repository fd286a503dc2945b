"""Is a blend good enough for the clinic? Each gate says what it found and what it asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from ranzcr.ensemble import bootstrap
from ranzcr.errors import DataError
from ranzcr.predictions import Predictions

PASS, FAIL = "pass", "fail"


@dataclass(frozen=True)
class Gate:
    """One condition. `value` and `limit` are None where nothing was compared."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    text: str

    @property
    def result(self) -> str:
        """ "pass" or "fail"."""
        return PASS if self.passed else FAIL


@dataclass(frozen=True)
class GateReport:
    """All gates of one candidate; it passes where all of them do."""

    gates: tuple[Gate, ...]

    @property
    def result(self) -> str:
        """ "pass" or "fail": the string a pipeline's condition compares."""
        return PASS if all(gate.passed for gate in self.gates) else FAIL

    @property
    def failures(self) -> str:
        """What failed, in one line; "" where nothing did."""
        return "; ".join(f"{gate.name}: {gate.text}" for gate in self.gates if not gate.passed)

    def with_gate(self, gate: Gate) -> GateReport:
        """The report with `gate` added, in place of one with the same name."""
        others = tuple(known for known in self.gates if known.name != gate.name)
        return replace(self, gates=(*others, gate))

    def to_json(self) -> dict:
        return {"result": self.result, "gates": [asdict(gate) for gate in self.gates]}

    @classmethod
    def from_json(cls, value: dict) -> GateReport:
        return cls(tuple(Gate(**gate) for gate in value["gates"]))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the gates ask for."""

    min_auc_lo: float = 0.5  # lower end of the 95% interval of the honest macro AUC
    better: float = 0.9  # probability of being better than the champion
    parity: float = 1e-4  # largest |ONNX - torch| of a probability


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the studies of a data set really show, for N training rows and L labels."""

    dataset_digest: str
    uids: np.ndarray  # (N,) of str
    targets: np.ndarray  # (N, L); 1, 0, or -1 where a row is left out
    patients: np.ndarray  # (N,) of str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A blend to judge."""

    digest: str  # of the blend
    dataset_digest: str
    cv_auc_lo: float
    oof: Predictions  # cross-fitted, out-of-fold


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
    candidate: Candidate, champion: Incumbent | None, truth: Truth, limits: Limits | None = None
) -> GateReport:
    """Judge a blend before it is exported; `parity` is added once it is."""
    limits = limits or Limits()
    return GateReport(
        (
            _honest_cv(candidate, limits.min_auc_lo),
            _known_data(candidate, truth),
            _beats(candidate, champion, truth, limits.better),
        )
    )


def parity(ensemble: Path, limit: float = Limits.parity) -> Gate:
    """ONNX gives what torch gives: reads the export's parity.json."""
    path = ensemble / "parity.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        worst = float(np.max(_numbers(stored["max_abs_diff"])))
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{path}: no max_abs_diff of the exported models; export again") from None
    text = f"ONNX differs from torch by at most {worst:.1e}; the limit is {limit:.0e}"
    return Gate("parity", worst < limit, worst, limit, text)


def _numbers(stored: float | dict[str, float]) -> list[float]:
    return list(stored.values()) if isinstance(stored, dict) else [stored]


def _honest_cv(candidate: Candidate, limit: float) -> Gate:
    lo = candidate.cv_auc_lo
    text = f"95% interval of the honest CV begins at {lo:.4f}; the limit is {limit:.4f}"
    return Gate("cv", bool(lo >= limit), _finite(lo), limit, text)


def _known_data(candidate: Candidate, truth: Truth) -> Gate:
    same = bool(truth.dataset_digest) and candidate.dataset_digest == truth.dataset_digest
    found = candidate.dataset_digest[:12] or "none"
    text = f"made from data set {found}; judged on {truth.dataset_digest[:12] or 'none'}"
    return Gate("data", same, None, None, text)


def _beats(candidate: Candidate, champion: Incumbent | None, truth: Truth, limit: float) -> Gate:
    """Better than the champion on the same studies, by the paired patient bootstrap."""
    free = _nothing_to_beat(candidate, champion)
    if champion is None or free:
        return Gate("champion", True, None, limit, free)
    reigning = champion.predictions()
    if reigning.schema != candidate.oof.schema:
        text = f"champion {champion.version} has other labels: not compared"
        return Gate("champion", True, None, limit, text)
    chance, studies = chance_of_being_better(candidate.oof, reigning, truth)
    text = (
        f"better than champion {champion.version} with probability {chance:.3f} on {studies} "
        f"common studies; the limit is {limit}"
    )
    return Gate("champion", bool(chance > limit), _finite(chance), limit, text)


def _nothing_to_beat(candidate: Candidate, champion: Incumbent | None) -> str:
    """Why there is no champion to beat; "" where there is one."""
    if champion is None:
        return "there is no champion yet"
    if champion.digest == candidate.digest:
        return f"this is champion {champion.version} itself"
    if champion.dataset_digest != candidate.dataset_digest:
        return (
            f"champion {champion.version} comes from another data set "
            f"({champion.dataset_digest[:12]}): not compared"
        )
    return ""


def chance_of_being_better(own: Predictions, other: Predictions, truth: Truth) -> tuple[float, int]:
    """By the paired patient bootstrap on the studies that both predict, and how many those are.

    NaN where no label has both classes among them.
    """
    common = pd.Index(truth.uids).intersection(own.uids, sort=False)
    common = common.intersection(other.uids, sort=False)
    if common.empty:
        return float("nan"), 0
    rows = pd.Index(truth.uids).get_indexer(common)
    uids = common.to_numpy()
    chance = bootstrap.paired(
        truth.targets[rows],
        own.aligned(uids).values,
        other.aligned(uids).values,
        truth.patients[rows],
    )
    return chance, len(common)


def _finite(value: float) -> float | None:
    """None in place of NaN, which JSON does not have."""
    return float(value) if np.isfinite(value) else None
