"""The decisions of approvers about candidates: waivers of gates, approvals, rejections.

They are tags of the registered model `ranzcr-clip`, which only an approver may write: one tag per
candidate and gate for waivers, and one per candidate for the verdict. (A trainer may write the tags
of a candidate.) Each names the content it is about, so it does not count for other content.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ranzcr.registry.gates import Waiver
from ranzcr.registry.ledger import PRODUCTION
from ranzcr.registry.sealed import seal, unseal

APPROVED, REJECTED = "approved", "rejected"
_WAIVER, _VERDICT = "waiver.", "verdict."  # prefixes: waiver.<candidate>.<gate>

_Record = TypeVar("_Record", "Waiver", "Verdict")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An approver's last decision on a candidate."""

    verdict: str  # APPROVED or REJECTED
    digest: str  # of the candidate's content
    who: str
    when: str  # ISO 8601, UTC
    why: str

    @property
    def summary(self) -> str:
        return f"{self.verdict} by {self.who} on {self.when[:10]}: {self.why}"


@dataclass(frozen=True)
class Decisions:
    """All decisions by candidate version; `edited` are the tags that were changed by hand."""

    waivers: dict[str, tuple[Waiver, ...]]
    verdicts: dict[str, Verdict]
    edited: tuple[str, ...]

    def verdict_on(self, version: str, digest: str) -> Verdict | None:
        """Return the last verdict on this content."""
        verdict = self.verdicts.get(version)
        return verdict if verdict and verdict.digest == digest else None

    def is_edited(self, version: str) -> bool:
        """Return whether the verdict on a candidate was changed by hand and so is unknown."""
        return f"{_VERDICT}{version}" in self.edited


def read(client: MlflowClient) -> Decisions:
    """Return all decisions; none if there is no production model yet."""
    waivers: dict[str, tuple[Waiver, ...]] = {}
    verdicts: dict[str, Verdict] = {}
    edited: list[str] = []
    for key, text in _tags(client).items():
        if key.startswith(_WAIVER):
            version = key.removeprefix(_WAIVER).partition(".")[0]
            waiver = _parse(Waiver, text)
            if waiver is None or key != _waiver_key(version, waiver.gate):
                edited.append(key)
            else:
                waivers[version] = (*waivers.get(version, ()), waiver)
        elif key.startswith(_VERDICT):
            verdict = _parse(Verdict, text)
            if verdict is None:
                edited.append(key)
            else:
                verdicts[key.removeprefix(_VERDICT)] = verdict
    return Decisions(waivers, verdicts, tuple(edited))


def waive(client: MlflowClient, version: str, waiver: Waiver) -> None:
    """Record a waiver, in place of an earlier one of the same gate."""
    key = _waiver_key(version, waiver.gate)
    client.set_registered_model_tag(PRODUCTION, key, seal(asdict(waiver)))


def decide(client: MlflowClient, version: str, verdict: Verdict) -> None:
    """Record an approval or a rejection, in place of an earlier one."""
    client.set_registered_model_tag(PRODUCTION, f"{_VERDICT}{version}", seal(asdict(verdict)))


def _waiver_key(version: str, gate: str) -> str:
    return f"{_WAIVER}{version}.{gate}"


def _tags(client: MlflowClient) -> dict[str, str]:
    try:
        return dict(client.get_registered_model(PRODUCTION).tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def _parse(record: type[_Record], text: str) -> _Record | None:
    fields = unseal(text)
    try:
        return None if fields is None else record(**fields)
    except TypeError:
        return None
