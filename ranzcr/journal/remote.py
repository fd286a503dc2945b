"""The journal's runs by way of mlflow: from a server, and from any store that it can open."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from ranzcr.journal.entries import Entry
from ranzcr.progress import track
from ranzcr.tracking import server

_PAGE = 5000  # runs per request
_SLICES = "0123456789abcdef"  # how a run id begins
_AT_ONCE = 8  # requests; a server has 4 processes if nobody says otherwise
_SEARCH = "/api/2.0/mlflow/runs/search"
_READING = "Reading the journal"
_ROWS = "tags.kind != 'fold'"


def read(client: MlflowClient, place: str, kind: str | None) -> list[Entry]:
    """The top-level runs of an MLflow experiment, newest first.

    A server takes milliseconds per run, so it is asked for slices of them at once; its JSON is
    read as it is, which takes an eighth of the time that mlflow's client takes for its objects.
    """
    if not client.tracking_uri.startswith("http"):
        return [_of_run(run) for run in search(client, place, kind)]
    wanted = _of_kind(kind)
    with server.translated(client.tracking_uri), ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = [
            pool.submit(_slice, client.tracking_uri, place, f"{wanted} and {_begins(first)}")
            for first in _SLICES
        ]
        found = itertools.chain.from_iterable(part.result() for part in track(parts, _READING))
        return sorted(found, key=lambda entry: (-entry.started, entry.run_id))


def search(client: MlflowClient, place: str, kind: str | None = None) -> list[MlflowRun]:
    """The same runs as mlflow's client gives them, which takes longer."""
    with server.translated(client.tracking_uri):
        return _search(client, place, _of_kind(kind))


def named(client: MlflowClient, place: str, name: str, id_length: int) -> list[Entry]:
    """The top-level runs that `name` can mean: their experiment, or how their id begins."""
    wanted = [f"tags.experiment = {quoted}"] if (quoted := _quoted(name)) else []
    if len(name) >= id_length and name.isalnum():
        wanted.append(_begins(name))
    with server.translated(client.tracking_uri):
        found = [run for one in wanted for run in _search(client, place, f"{_ROWS} and {one}")]
    return list({run.info.run_id: _of_run(run) for run in found}.values())


def _begins(text: str) -> str:
    return f"attributes.run_id LIKE '{text}%'"


def _quoted(text: str) -> str:
    """`text` in the quotes that MLflow's filters take; "" where it has both kinds in it."""
    return next((f"{mark}{text}{mark}" for mark in "'\"" if mark not in text), "")


def _of_kind(kind: str | None) -> str:
    return f"tags.kind = '{kind}'" if kind else _ROWS


def _search(client: MlflowClient, place: str, wanted: str) -> list[MlflowRun]:
    found: list[MlflowRun] = []
    token: str | None = None
    while True:
        page = client.search_runs([place], wanted, max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _of_run(run: MlflowRun) -> Entry:
    info, data = run.info, run.data
    started = info.start_time or 0
    name = info.run_name or ""
    return Entry(info.run_id, name, info.status, started, data.tags, data.params, data.metrics)


def _slice(uri: str, place: str, wanted: str) -> list[Entry]:
    """By mlflow's own request, which knows all of its settings of passwords and certificates."""
    asked: dict[str, Any] = {"experiment_ids": [place], "filter": wanted, "max_results": _PAGE}
    found: list[Entry] = []
    while True:
        answer = http_request(get_default_host_creds(uri), _SEARCH, "POST", json=asked)
        page = verify_rest_response(answer, _SEARCH).json()
        found += [_of_json(run) for run in page.get("runs", [])]
        if not page.get("next_page_token"):
            return found
        asked["page_token"] = page["next_page_token"]


def _of_json(run: Mapping[str, Any]) -> Entry:
    info, data = run["info"], run.get("data", {})
    tags, params, metrics = (
        {pair["key"]: pair.get("value", "") for pair in data.get(what, [])}
        for what in ("tags", "params", "metrics")
    )
    return Entry(
        info["run_id"],
        info.get("run_name", ""),
        info["status"],
        int(info.get("start_time", 0)),
        tags,
        params,
        {key: float(value or 0) for key, value in metrics.items()},  # NaN comes as a word
    )
