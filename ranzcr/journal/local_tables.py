"""MLflow's tables in SQLite, read without mlflow: importing it takes longer than reading them.

Only what is certain is read here. Another schema, a missing or a second experiment, a damaged file:
for those the caller asks mlflow, which upgrades, makes, or says what is wrong.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ranzcr.journal.entries import Entry

SCHEMA = "dc11669786a5"  # the revision of MLflow's tables that these queries are written for

_TOP_LEVEL = """
    FROM runs JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = 'kind'
    WHERE runs.experiment_id = :place AND runs.lifecycle_stage = 'active'
    AND kind.value != 'fold' AND (:kind IS NULL OR kind.value = :kind)
"""
_VALUE = {
    "tags": "value",
    "params": "value",
    # MLflow keeps NaN as 0 with a mark
    "latest_metrics": "CASE WHEN is_nan THEN NULL ELSE value END",
}


def read(file: Path, experiment: str, kind: str | None) -> tuple[list[Entry], str] | None:
    """The top-level runs of an MLflow experiment, newest first, and the experiment's id.

    Args:
        file: MLflow's SQLite database.
        experiment: its name.
        kind: only these; None for all.

    None where the file is not what this module knows.
    """
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            # One transaction: what is written meanwhile is seen whole, or not at all.
            database.execute("BEGIN")
            place = _place(database, experiment)
            return None if place is None else (_entries(database, place, kind), str(place))
    except sqlite3.Error:
        return None


def _place(database: sqlite3.Connection, experiment: str) -> int | None:
    if database.execute("SELECT version_num FROM alembic_version").fetchall() != [(SCHEMA,)]:
        return None
    active = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'active'"
    found = database.execute(active, (experiment,)).fetchall()
    return found[0][0] if len(found) == 1 else None


def _entries(database: sqlite3.Connection, place: int, kind: str | None) -> list[Entry]:
    asked = {"place": place, "kind": kind}
    tags, params, metrics = (_pairs(database, table, asked) for table in _VALUE)
    runs = database.execute(
        f"SELECT runs.run_uuid, name, status, start_time {_TOP_LEVEL} "
        "ORDER BY start_time DESC, runs.run_uuid",
        asked,
    )
    return [
        Entry(
            run_id, name or "", status, started or 0, tags[run_id], params[run_id], metrics[run_id]
        )
        for run_id, name, status, started in runs
    ]


def _pairs(
    database: sqlite3.Connection, table: str, asked: Mapping[str, Any]
) -> defaultdict[str, dict[str, Any]]:
    """Run -> key -> value of one table."""
    empty = float("nan") if table == "latest_metrics" else ""
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    of_runs = f"run_uuid IN (SELECT runs.run_uuid {_TOP_LEVEL})"
    query = f"SELECT run_uuid, key, {_VALUE[table]} FROM {table} WHERE {of_runs}"
    for run_id, key, value in database.execute(query, asked):
        found[run_id][key] = empty if value is None else value
    return found
