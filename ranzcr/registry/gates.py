"""What the gates found in one candidate, and which failures a person answers for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

PASS, FAIL, WAIVED = "pass", "fail", "waived"


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A failure of one gate of one candidate that a person lets pass, as it was found then."""

    gate: str
    digest: str  # of the candidate's content
    who: str
    when: str  # ISO 8601, UTC
    why: str
    value: float | None
    text: str
    against: str | None

    @property
    def told(self) -> str:
        return f"waived by {self.who} on {self.when[:10]}: {self.why}"


@dataclass(frozen=True)
class Gate:
    """One condition. `value` and `limit` are None where nothing was compared."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    text: str
    low_is_good: bool = False
    noise: float = 0.0  # by how much the same candidate's value may differ the next time
    against: str | None = (
        None  # blend digest of the champion compared with, "" where there was none
    )
    waivable: bool = True
    waiver: Waiver | None = None

    @property
    def result(self) -> str:
        """ "pass", "fail" or "waived"."""
        if self.passed:
            return PASS
        return WAIVED if self.waiver else FAIL

    def waived(self, waiver: Waiver) -> Gate:
        """The gate with the waiver, where it covers what was found; else as it is.

        A waiver speaks of what a person saw. It ends where the value is worse than then, where the
        comparison is with another champion, or where a finding without a value reads otherwise.
        """
        if self.passed or not self.waivable or waiver.against != self.against:
            return self
        if self.value is None or waiver.value is None:
            covered = waiver.text == self.text
        else:
            worse = self.value - waiver.value if self.low_is_good else waiver.value - self.value
            covered = worse <= self.noise
        return replace(self, waiver=waiver) if covered else self


@dataclass(frozen=True)
class GateReport:
    """All gates of one candidate; it passes where each passed or was waived."""

    gates: tuple[Gate, ...]

    @property
    def result(self) -> str:
        """ "pass" or "fail": the string a pipeline's condition compares."""
        return FAIL if any(gate.result == FAIL for gate in self.gates) else PASS

    @property
    def failures(self) -> str:
        """What failed, in one line; "" where nothing did."""
        failed = [gate for gate in self.gates if gate.result == FAIL]
        return "; ".join(f"{gate.name}: {gate.text}" for gate in failed)

    def named(self, name: str) -> Gate | None:
        return next((gate for gate in self.gates if gate.name == name), None)

    def at_champion(self, version: str, digest: str, own_digest: str) -> GateReport:
        """The report as it counts with this champion in use.

        Args:
            version: of production, "" where there is no champion.
            digest: of the champion's blend, "" where there is no champion.
            own_digest: of the candidate's blend: the champion itself has nobody to beat.

        A comparison with an earlier champion says nothing about this one: such a gate fails.
        """
        if digest == own_digest:
            return self

        def now(gate: Gate) -> Gate:
            if gate.against in (None, digest):
                return gate
            text = f"not compared with champion {version or 'none'}, which is in use now; register"
            text += " the ensemble again"
            return replace(gate, passed=False, value=None, text=text, against=digest)

        return GateReport(tuple(map(now, self.gates)))

    def waived(self, waivers: Iterable[Waiver], digest: str) -> GateReport:
        """The report with the waivers that were given for this content, where they cover."""
        known = {waiver.gate: waiver for waiver in waivers if waiver.digest == digest}
        return GateReport(
            tuple(
                gate.waived(known[gate.name]) if gate.name in known else gate for gate in self.gates
            )
        )

    def to_json(self) -> dict[str, Any]:
        gates = [{**asdict(gate), "result": gate.result} for gate in self.gates]
        return {"result": self.result, "gates": gates}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> GateReport:
        return cls(tuple(map(_gate, value["gates"])))


def _gate(stored: dict[str, Any]) -> Gate:
    told = {name: value for name, value in stored.items() if name != "result"}
    waiver = told.get("waiver")
    return Gate(**{**told, "waiver": Waiver(**waiver) if waiver else None})
