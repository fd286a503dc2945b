"""Reads MLflow's SQLite tables without mlflow, whose import takes longer than reading them.

Only the expected case is read here. For another schema, a missing or a second experiment, or a
damaged file the caller asks mlflow, which upgrades the schema, creates the experiment, or reports
the error.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ranzcr.journal.journal_run import JournalRun
from ranzcr.tracking.names import Kind, Tag

SCHEMA = "dc11669786a5"  # the revision of MLflow's tables that these queries are written for

_TOP_LEVEL = f"""
    FROM runs JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = '{Tag.KIND}'
    WHERE runs.experiment_id = :experiment AND runs.lifecycle_stage = 'active'
    AND kind.value != '{Kind.FOLD}' AND (:kind IS NULL OR kind.value = :kind)
"""
_VALUE = {
    "tags": "value",
    "params": "value",
    # MLflow stores NaN as 0 with a flag
    "latest_metrics": "CASE WHEN is_nan THEN NULL ELSE value END",
}

_Scope = Mapping[str, int | str | None]  # the parameters of _TOP_LEVEL


def read(file: Path, experiment: str, kind: str | None) -> tuple[list[JournalRun], str] | None:
    """Return the top-level runs of an MLflow experiment, newest first, and the experiment's id.

    Args:
        file: MLflow's SQLite database.
        experiment: name of the experiment.
        kind: only runs of this kind; None for all.

    Returns None if the file is not as this module expects it.
    """
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            # One transaction: a run that is written meanwhile is read completely, or not at all.
            database.execute("BEGIN")
            experiment_id = _experiment_id(database, experiment)
            if experiment_id is None:
                return None
            scope = {"experiment": experiment_id, "kind": kind}
            return _runs(database, scope), str(experiment_id)
    except sqlite3.Error:
        return None


def _experiment_id(database: sqlite3.Connection, experiment: str) -> int | None:
    if database.execute("SELECT version_num FROM alembic_version").fetchall() != [(SCHEMA,)]:
        return None
    active = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'active'"
    ids = database.execute(active, (experiment,)).fetchall()
    return ids[0][0] if len(ids) == 1 else None


def _runs(database: sqlite3.Connection, scope: _Scope) -> list[JournalRun]:
    tags, params, metrics = (_values(database, table, scope) for table in _VALUE)
    runs = database.execute(
        f"SELECT runs.run_uuid, name, status, start_time, end_time {_TOP_LEVEL} "
        "ORDER BY start_time DESC, runs.run_uuid",
        scope,
    )
    return [
        JournalRun(
            *(run_id, name or "", status, started or 0),
            *(tags[run_id], params[run_id], metrics[run_id], ended),
        )
        for run_id, name, status, started, ended in runs
    ]


def _values(
    database: sqlite3.Connection, table: str, scope: _Scope
) -> defaultdict[str, dict[str, Any]]:
    """Read one table: run -> key -> value."""
    empty = float("nan") if table == "latest_metrics" else ""
    values: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    top_level = f"run_uuid IN (SELECT runs.run_uuid {_TOP_LEVEL})"
    query = f"SELECT run_uuid, key, {_VALUE[table]} FROM {table} WHERE {top_level}"
    for run_id, key, value in database.execute(query, scope):
        values[run_id][key] = empty if value is None else value
    return values
