"""What the journal is read as: its top-level runs with the latest value of each metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One top-level run as MLflow holds it."""

    run_id: str
    name: str
    status: str  # RUNNING, FINISHED, FAILED, KILLED or SCHEDULED
    started: int  # milliseconds since 1970; 0 where not known
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def experiment(self) -> str:
        """The name that the journal shows."""
        return self.tags.get("experiment") or self.name


@dataclass(frozen=True)
class Record:
    """The journal as it was read."""

    entries: list[Entry]  # newest first
    pages: str = ""  # where MLflow's pages of these runs are
    place: str = ""  # id of the MLflow experiment
