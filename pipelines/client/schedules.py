"""Recurring runs: cron as KFP reads it, and one schedule per pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import kfp_server_api
from kfp_server_api import (
    RecurringRunMode,
    V2beta1CronSchedule,
    V2beta1RecurringRun,
    V2beta1Trigger,
)

from pipelines.client.connection import Kfp, once, where
from pipelines.client.submission import RunReferences, RunSubmission, check_plugin, prepare
from pipelines.conventions import SERVICE_ACCOUNT
from ranzcr.errors import ConfigError, nearest
from ranzcr.files import hash_json


class _Field(NamedTuple):
    """The values of a field of cron; `words` stand for the numbers from `lowest` on."""

    name: str
    lowest: int
    highest: int
    words: tuple[str, ...] = ()


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _DAYS),
)
_WORDS = ("@yearly", "@monthly", "@weekly", "@daily", "@hourly")
_PART = re.compile(r"(?:[*?]|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d*))?")


@dataclass(frozen=True)
class Schedule:
    """A submission that recurs."""

    submission: RunSubmission
    cron: str  # six fields, as `cron` returns them

    @property
    def name(self) -> str:
        """Return the pipeline's name, so that a new schedule replaces the old one."""
        return self.submission.package.name

    @property
    def fingerprint(self) -> str:
        """Return the schedule's description, which identifies its content and time."""
        return f"ranzcr {hash_json([self.submission.name, self.cron])[:12]}"

    def request(self, references: RunReferences, namespace: str | None) -> V2beta1RecurringRun:
        """Return the request: one run at a time, and none for missed times."""
        return V2beta1RecurringRun(
            display_name=self.name,
            description=self.fingerprint,
            namespace=namespace,
            experiment_id=references.experiment_id,
            pipeline_version_reference=references.version,
            runtime_config=self.submission.config,
            service_account=SERVICE_ACCOUNT,
            plugins_input=self.submission.plugins_input,
            trigger=V2beta1Trigger(cron_schedule=V2beta1CronSchedule(cron=self.cron)),
            mode=RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,
        )


def cron(text: str) -> str:
    """Return a cron expression in KFP's six fields, seconds first.

    Five fields, as in a crontab, get second 0 in front, because KFP would read the minutes as
    seconds and run a daily schedule hourly. Raises ConfigError if KFP cannot read it.
    """
    if text.startswith("@"):
        if text not in _WORDS:
            raise ConfigError(f"cron {text!r}: unknown; {nearest(text, _WORDS)}")
        return text
    fields = text.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        names = ", ".join(field.name for field in _FIELDS)
        raise ConfigError(f"cron {text!r} has {len(fields)} fields; write six ({names}), or five")
    for parts, field in zip(fields, _FIELDS, strict=True):
        for part in parts.split(","):
            if not _is_valid(part, field):
                name, lowest, highest, _ = field
                raise ConfigError(
                    f"cron {text!r}: {part!r} is not a valid {name}, {lowest} to {highest}"
                )
    return " ".join(fields)


def schedule(kfp: Kfp, wanted: Schedule, report: Callable[[str], None]) -> V2beta1RecurringRun:
    """Replace the schedule of a pipeline; the same schedule again changes nothing."""
    check_plugin(kfp, wanted.submission.plugin)
    references = prepare(kfp, wanted.submission)

    def find() -> V2beta1RecurringRun | None:
        same = [item for item in named(kfp, wanted.name) if item.description == wanted.fingerprint]
        return next((item for item in same if item.status == "ENABLED"), None)

    def create() -> V2beta1RecurringRun:
        with kfp.translated(f"schedule {wanted.name}"):
            return kfp.schedules.recurring_run_service_create_recurring_run(
                recurring_run=wanted.request(references, kfp.namespace)
            )

    created = once(find, create)
    for other in named(kfp, wanted.name):
        if other.recurring_run_id != created.recurring_run_id:
            _delete(kfp, other)
            report(f"{wanted.name}: replaced the schedule {_cron_of(other)}")
    return created


def remove(kfp: Kfp, name: str) -> int:
    """Delete the schedules of a pipeline; returns how many. Active runs continue."""
    existing = named(kfp, name)
    for item in existing:
        _delete(kfp, item)
    return len(existing)


def named(kfp: Kfp, name: str) -> list[V2beta1RecurringRun]:
    """Return all schedules of that name, usually one."""
    with kfp.translated("the list of schedules"):
        return (
            kfp.schedules.recurring_run_service_list_recurring_runs(
                page_size=100,
                filter=where(("display_name", "EQUALS", name)),
                **({"namespace": kfp.namespace} if kfp.namespace else {}),
            ).recurring_runs
            or []
        )


def _delete(kfp: Kfp, existing: V2beta1RecurringRun) -> None:
    with kfp.translated(f"schedule {existing.display_name}"):
        kfp.schedules.recurring_run_service_delete_recurring_run(existing.recurring_run_id)


def _cron_of(existing: V2beta1RecurringRun) -> str:
    trigger: kfp_server_api.V2beta1Trigger | None = existing.trigger
    return trigger.cron_schedule.cron if trigger and trigger.cron_schedule else "of another kind"


def _is_valid(part: str, field: _Field) -> bool:
    """Return True if KFP reads a part of a field: *, 5, MON-FRI, 8-18/2."""
    match = _PART.fullmatch(part)
    if match is None:
        return False
    ends = [_number(end, field) for end in (match["first"], match["last"]) if end]
    return all(field.lowest <= end <= field.highest for end in ends) and ends == sorted(ends)


def _number(text: str, field: _Field) -> int:
    """Return the number of a part; -1 if it is neither a number nor a word of the field."""
    if text.upper() in field.words:
        return field.lowest + field.words.index(text.upper())
    return int(text) if text.isdecimal() else -1
