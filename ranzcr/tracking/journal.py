"""The lab journal: one row per single model, set of soft labels, or ensemble."""

from __future__ import annotations

import gc
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import Any

import pandas as pd
from mlflow.entities import Run as MlflowRun

from ranzcr.errors import ConfigError, TrackingError, nearest
from ranzcr.tracking import provenance, runs, server
from ranzcr.tracking.runs import Run
from ranzcr.tracking.tables import table, to_text

KINDS = ("single", "pseudo", "ensemble")  # in the order they are shown
FORMATS = ("table", "md", "csv", "html")
_NUMBERS = ["cv_auc", "cv_auc_lo", "cv_auc_hi", "lb_public", "lb_private", "gpu_hours"]
_COUNTS = ["image_size", "folds"]
COLUMNS = [
    *["kind", "experiment", "parent", "backbone", "head", "image_size", "folds"],
    *["teachers", "members", *_NUMBERS, "decision", "run_id"],
]
_PAGE = 5000  # runs per request
SHORT = 8  # characters of a run id that are shown, and suffice to name a run
_EMPTY = "The journal is empty: run a pipeline, or train a fold.\n"


def rows(kind: str | None = None, sort: str = "cv_auc", limit: int | None = None) -> pd.DataFrame:
    """The journal, best first; columns are COLUMNS.

    Args:
        kind: single, pseudo or ensemble; None for all.
        sort: a column; scores fall, words and counts rise, what is not there comes last.
        limit: at most so many rows.

    Raises ConfigError for an unknown kind or column, TrackingError where MLflow does not answer.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"no kind {kind!r} in the journal; {nearest(kind, KINDS)}")
    if sort not in COLUMNS:
        raise ConfigError(f"no column {sort!r} in the journal; {nearest(sort, COLUMNS)}")
    frame = pd.DataFrame([_row(run) for run in _top_level_runs(kind)], columns=COLUMNS)
    frame[_NUMBERS] = frame[_NUMBERS].astype(float)
    falling = sort in _NUMBERS
    frame = frame.sort_values(sort, ascending=not falling, key=_sort_key, kind="stable")
    return frame.iloc[:limit].reset_index(drop=True)


def render(frame: pd.DataFrame, form: str = "table") -> str:
    """`rows` as text: tables for the terminal, Markdown, a web page, or CSV with every column."""
    if form == "csv":
        return frame.to_csv(index=False)
    if form == "md":
        return _markdown(frame)
    if form == "html":
        return _html(frame)
    if form == "table":
        return _tables(frame)
    raise ConfigError(f"no format {form!r}; {nearest(form, FORMATS)}")


def set_lb(name: str, *, public: float | None = None, private: float | None = None) -> str:
    """Record leaderboard scores of a top-level run.

    Args:
        name: see `resolve`.
        public: AUC, 0 to 1.
        private: the same.

    Returns the run id.
    """
    for score in (public, private):
        if score is not None and not 0 <= score <= 1:
            raise ConfigError(f"leaderboard score {score}: expected an AUC from 0 to 1")
    run = Run(server.connect(), resolve(name))
    run.log_metrics({"lb_public": public, "lb_private": private})
    run.flush()
    return run.run_id


def note(name: str, text: str) -> str:
    """Add a dated line to the description of a top-level run, which MLflow's pages show.

    Args:
        name: see `resolve`.
        text: made one line.

    Returns the run id. Raises TrackingError where the run is unknown or its description is full.
    """
    line = f"{datetime.now(UTC).date()} {provenance.author()}: {_one_line('note', text)}"
    run = Run(server.connect(), resolve(name))
    uri = run.client.tracking_uri
    with server.translated(uri), server.exclusive(uri):
        before = run.client.get_run(run.run_id).data.tags.get(runs.NOTE, "")
        # A blank line between: the description is Markdown.
        description = f"{before}\n\n{line}".lstrip()
        if len(description) > runs.TAG:
            raise TrackingError(
                f"the description of {name} would have {len(description)} characters, MLflow takes "
                f"{runs.TAG}; shorten it with ranzcr ui"
            )
        run.set_tags({runs.NOTE: description})
    return run.run_id


def decide(name: str, decision: str) -> str:
    """Record what was decided about a top-level run, by whom and when; an earlier one is replaced.

    Args:
        name: see `resolve`.
        decision: made one line, shown in the journal.

    Returns the run id.
    """
    told = {
        "decision": _one_line("decision", decision),
        "decided_by": provenance.author(),
        "decided_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    run = Run(server.connect(), resolve(name))
    run.set_tags(told)
    return run.run_id


def resolve(name: str) -> str:
    """The id of a top-level run.

    Args:
        name: its name, its run id, or the beginning of that from 8 characters on.

    Raises TrackingError for a name that is unknown, or that several runs have.
    """
    frame = rows()
    begins = frame.run_id.str.startswith(name) & (len(name) >= SHORT)
    same = frame.run_id[(frame.experiment == name) | begins]
    if len(same) == 1:
        return same.iloc[0]
    if len(same):
        raise TrackingError(f"{len(same)} runs are named {name}; give one of {', '.join(same)}")
    if frame.empty:
        raise TrackingError(f"no run {name!r}: the journal is empty; run a pipeline first")
    raise TrackingError(f"no run {name!r} in the journal; {nearest(name, frame.experiment)}")


@dataclass(frozen=True)
class Ui:
    """How to look at the journal in a browser: start `argv` with `env` added, then open `link`.

    `argv` is empty where a server already runs.
    """

    link: str
    argv: list[str] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)


def ui_command(port: int = 5000) -> Ui:
    """The command that opens MLflow on the journal, on this machine only."""
    uri = server.tracking_uri()
    place = server.experiment_id(server.connect())
    # Without workflowType the page opens in MLflow's GenAI mode.
    page = f"/#/experiments/{place}/runs?workflowType=machine_learning"
    if uri.startswith("http"):
        return Ui(f"{server.shown(uri).rstrip('/')}{page}")
    argv = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    file = server.sqlite_file(uri)
    if file is not None:
        argv += ["--artifacts-destination", str(file.parent / "artifacts")]
    argv += ["--host", "127.0.0.1", "--port", str(port)]
    # Without the job workers it takes a third of the memory and starts sooner.
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Ui(f"http://127.0.0.1:{port}{page}", argv, env)


def _top_level_runs(kind: str | None) -> list[MlflowRun]:
    client = server.connect()
    wanted = f"tags.kind = '{kind}'" if kind else "tags.kind != 'fold'"
    found: list[MlflowRun] = []
    token: str | None = None
    with server.translated(client.tracking_uri), _without_collector():
        places = [server.experiment_id(client)]
        while True:
            page = client.search_runs(places, wanted, max_results=_PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found


@contextmanager
def _without_collector() -> Iterator[None]:
    """Reading 1,000 runs makes 70,000 objects that all stay: collecting between takes 2/3 of it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _row(run: MlflowRun) -> dict[str, object]:
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    return {
        "kind": tags["kind"],
        "experiment": tags.get("experiment", run.info.run_name),
        "parent": tags.get("parent", ""),
        "backbone": params.get("cfg.model.backbone", ""),
        "head": params.get("cfg.model.head", ""),
        "image_size": params.get("cfg.data.image_size", ""),
        "folds": tags.get("folds", ""),
        "teachers": tags.get("teachers", ""),
        "members": members(tags),
        **{name: metrics.get(name) for name in _NUMBERS},
        "decision": tags.get("decision", ""),
        "run_id": run.info.run_id,
    }


def _sort_key(column: pd.Series) -> pd.Series:
    """Counts by their value, and "" as what is not there, which comes last."""
    known = column.replace("", None)
    return pd.to_numeric(known) if column.name in _COUNTS else known


def members(tags: Mapping[str, str]) -> str:
    """A blend's members with their weights: "smoke_a:0.600 smoke_b:0.400"."""
    weights = json.loads(tags.get("weights", "{}"))
    return " ".join(f"{name}:{weight:.3f}" for name, weight in weights.items())


def _one_line(what: str, text: str) -> str:
    line = " ".join(text.split())
    if not line:
        raise ConfigError(f"the {what} is empty; say something")
    if len(line) > runs.TAG:
        raise ConfigError(f"the {what} has {len(line)} characters; MLflow takes {runs.TAG}")
    return line


def interval(scores: Mapping[Any, float]) -> str:
    """CV with its interval, "0.8123 [0.7812, 0.8410]"; "" where there is none."""
    cv, lo, hi = (scores.get(name, math.nan) for name in ("cv_auc", "cv_auc_lo", "cv_auc_hi"))
    if math.isnan(cv):
        return ""
    return f"{cv:.4f}" if math.isnan(lo) or math.isnan(hi) else f"{cv:.4f} [{lo:.3f}, {hi:.3f}]"


_SHOWN = {
    "single": ["parent", "backbone", "head", "image_size", "folds", "teachers"],
    "pseudo": ["teachers"],
    "ensemble": ["members"],
}
_SCORES = ["CV [95%]", "LB public", "LB private", "GPU h", "decision", "run"]


_STYLE = (
    "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:.3em .6em;text-align:left}th{background:#f3f3f3}"
)


def _sections(frame: pd.DataFrame) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Of each kind that has runs: its name, the headings, the cells of each run."""
    for kind in KINDS:
        part = frame[frame.kind == kind]
        if len(part):
            yield kind, _headings(kind), [_cells(kind, row) for _, row in part.iterrows()]


def _tables(frame: pd.DataFrame) -> str:
    if frame.empty:
        return _EMPTY
    return to_text(table(*section) for section in _sections(frame))


def _markdown(frame: pd.DataFrame) -> str:
    lines: list[str] = []
    for kind, headings, cells in _sections(frame):
        lines += [f"## {kind}", "", _md_line(headings), _md_line(["---"] * len(headings))]
        lines += [_md_line(run) for run in cells] + [""]
    return "\n".join(lines)


def _html(frame: pd.DataFrame) -> str:
    """One page that needs no other file."""
    lines = ["<!doctype html>", '<html lang="en"><head><meta charset="utf-8">']
    lines += ["<title>ranzcr journal</title>", f"<style>{_STYLE}</style></head><body>"]
    if frame.empty:
        lines.append(f"<p>{_EMPTY.strip()}</p>")
    for kind, headings, cells in _sections(frame):
        lines += [f"<h2>{kind}</h2>", "<table>", _html_line("th", headings)]
        lines += [_html_line("td", run) for run in cells] + ["</table>"]
    return "\n".join([*lines, "</body></html>", ""])


def _html_line(element: str, cells: list[str]) -> str:
    filled = (f"<{element}>{escape(cell)}</{element}>" for cell in cells)
    return f"<tr>{''.join(filled)}</tr>"


def _md_line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _headings(kind: str) -> list[str]:
    if kind == "pseudo":  # soft labels have no score
        return ["experiment", *_SHOWN[kind], "decision", "run"]
    return ["experiment", *_SHOWN[kind], *_SCORES]


def _cells(kind: str, row: pd.Series) -> list[str]:
    ends = [row["decision"], row["run_id"][:SHORT]]
    scores = [
        interval(row.to_dict()),
        _number(row["lb_public"], 5),
        _number(row["lb_private"], 5),
        _number(row["gpu_hours"], 1),
    ]
    told = [row["experiment"], *(row[name] for name in _SHOWN[kind])]
    return [str(cell) for cell in (told + ends if kind == "pseudo" else told + scores + ends)]


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"
