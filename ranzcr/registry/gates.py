"""The findings of the gates in one candidate, and the failures that a person has waived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

PASS, FAIL, WAIVED = "pass", "fail", "waived"


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A failed gate of one candidate that a person lets pass, with the finding at that time."""

    gate: str
    digest: str  # of the candidate's content
    who: str
    when: str  # ISO 8601, UTC
    why: str
    value: float | None
    text: str
    against: str | None

    @property
    def summary(self) -> str:
        return f"waived by {self.who} on {self.when[:10]}: {self.why}"


@dataclass(frozen=True)
class Gate:
    """One condition. `value` and `limit` are None if nothing was compared."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    text: str
    low_is_good: bool = False
    noise: float = 0.0  # difference that a repeated measurement may have
    against: str | None = None  # blend digest of the champion compared with, "" without a champion
    waivable: bool = True
    waiver: Waiver | None = None

    @property
    def result(self) -> str:
        """The string pass, fail or waived."""
        if self.passed:
            return PASS
        return WAIVED if self.waiver else FAIL

    def waived(self, waiver: Waiver) -> Gate:
        """Return the gate with the waiver if that covers the finding, else the gate unchanged.

        A waiver covers the finding that a person saw. It ends if the value is worse than then, if
        the comparison is with another champion, or if a finding without a value has another text.
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
    """All gates of one candidate; it passes if each gate passed or was waived."""

    gates: tuple[Gate, ...]

    @property
    def result(self) -> str:
        """The string pass or fail, which a pipeline's condition compares."""
        return FAIL if any(gate.result == FAIL for gate in self.gates) else PASS

    @property
    def failures(self) -> str:
        """The failed gates in one line; "" if none failed."""
        failed = [gate for gate in self.gates if gate.result == FAIL]
        return "; ".join(f"{gate.name}: {gate.text}" for gate in failed)

    def named(self, name: str) -> Gate | None:
        return next((gate for gate in self.gates if gate.name == name), None)

    def at_champion(self, version: str, digest: str, own_digest: str) -> GateReport:
        """Return the report as it counts with this champion in use.

        Args:
            version: of production, "" if there is no champion.
            digest: of the champion's blend, "" if there is no champion.
            own_digest: of the candidate's blend: the champion is not compared with itself.

        A comparison with an earlier champion says nothing about this one: such a gate fails.
        """
        if digest == own_digest:
            return self

        text = f"not compared with the present champion ({version or 'none'}); "
        text += "register the ensemble again"
        return GateReport(
            tuple(
                gate
                if gate.against in (None, digest)
                else replace(gate, passed=False, value=None, text=text, against=digest)
                for gate in self.gates
            )
        )

    def waived(self, waivers: Iterable[Waiver], digest: str) -> GateReport:
        """Return the report with those waivers of this content that cover a finding."""
        by_gate = {waiver.gate: waiver for waiver in waivers if waiver.digest == digest}
        return GateReport(
            tuple(
                gate.waived(by_gate[gate.name]) if gate.name in by_gate else gate
                for gate in self.gates
            )
        )

    def to_json(self) -> dict[str, Any]:
        gates = [{**asdict(gate), "result": gate.result} for gate in self.gates]
        return {"result": self.result, "gates": gates}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> GateReport:
        return cls(tuple(map(_gate, value["gates"])))


def _gate(stored: dict[str, Any]) -> Gate:
    fields = {name: value for name, value in stored.items() if name != "result"}
    waiver = fields.get("waiver")
    return Gate(**{**fields, "waiver": Waiver(**waiver) if waiver else None})
