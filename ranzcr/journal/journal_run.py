"""The journal as it was read: its top-level runs with the latest value of each metric."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ranzcr.tracking import place
from ranzcr.tracking.names import Tag

SHORT = 8  # characters of a run id that are shown, and suffice to name a run


@dataclass(frozen=True, slots=True)
class JournalRun:
    """One top-level run as MLflow holds it."""

    run_id: str
    name: str
    status: str  # RUNNING, FINISHED, FAILED, KILLED or SCHEDULED
    started: int  # milliseconds since 1970; 0 if not known
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    ended: int | None = None  # milliseconds since 1970

    @property
    def experiment(self) -> str:
        """The name that the journal shows."""
        return self.tags.get(Tag.EXPERIMENT) or self.name


@dataclass(frozen=True)
class Record:
    """All top-level runs of the journal, or those of one kind."""

    runs: list[JournalRun] = field(default_factory=list)  # newest first
    pages: str = ""  # address of MLflow's pages
    experiment_id: str = ""  # of the MLflow experiment

    @cached_property
    def by_name(self) -> Mapping[str, list[JournalRun]]:
        """The runs of each experiment, newest first."""
        named: defaultdict[str, list[JournalRun]] = defaultdict(list)
        for run in self.runs:
            named[run.experiment].append(run)
        return named

    def link(self, run: JournalRun) -> str:
        """The page of a run in MLflow."""
        return place.run_page(self.pages, self.experiment_id, run.run_id)
