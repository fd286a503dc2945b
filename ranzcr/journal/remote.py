"""Reads the journal's runs through mlflow: from a server, or from any store that it can open."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response
from requests import Response

from ranzcr.journal.journal_run import SHORT, JournalRun
from ranzcr.progress import track
from ranzcr.tracking import server
from ranzcr.tracking.names import Kind, Tag

_PAGE = 5000  # runs per request
_SLICES = "0123456789abcdef"  # the first characters of run ids
_AT_ONCE = 8  # requests; a server has 4 processes by default
_SEARCH = "/api/2.0/mlflow/runs/search"
_READING = "Reading the journal"
_credentials: Callable[[str], object] = get_default_host_creds  # untyped in mlflow
_request: Callable[..., Response] = http_request
_TOP_LEVEL = f"tags.{Tag.KIND} != '{Kind.FOLD}'"


def read(client: MlflowClient, experiment_id: str, kind: str | None) -> list[JournalRun]:
    """Read the top-level runs of an MLflow experiment, newest first.

    A server takes milliseconds per run, so slices of the runs are requested in parallel. Their
    JSON is read directly, which takes an eighth of the time that mlflow's client needs.
    """
    if not client.tracking_uri.startswith("http"):
        return [of_mlflow(run) for run in search(client, experiment_id, kind)]
    condition = _of_kind(kind)
    with server.translated(client.tracking_uri), ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = [
            pool.submit(
                _slice, client.tracking_uri, experiment_id, f"{condition} and {_begins(first)}"
            )
            for first in _SLICES
        ]
        runs = itertools.chain.from_iterable(part.result() for part in track(parts, _READING))
        return sorted(runs, key=lambda run: (-run.started, run.run_id))


def search(client: MlflowClient, experiment_id: str, kind: str | None = None) -> list[MlflowRun]:
    """Return the same runs as objects of mlflow's client, which takes longer."""
    with server.translated(client.tracking_uri):
        return _search(client, experiment_id, _of_kind(kind))


def ended(client: MlflowClient, experiment_id: str, since: int) -> list[JournalRun]:
    """Return the top-level runs that ended after `since`, in milliseconds since 1970."""
    condition = f"{_TOP_LEVEL} and attributes.end_time > {since}"
    with server.translated(client.tracking_uri):
        return [of_mlflow(run) for run in _search(client, experiment_id, condition)]


def named(client: MlflowClient, experiment_id: str, name: str) -> list[JournalRun]:
    """Return the top-level runs of the experiment `name`, and those whose id begins with it."""
    conditions = [f"tags.{Tag.EXPERIMENT} = {quoted}"] if (quoted := _quoted(name)) else []
    if len(name) >= SHORT and name.isalnum():
        conditions.append(_begins(name))
    with server.translated(client.tracking_uri):
        runs = [
            run
            for condition in conditions
            for run in _search(client, experiment_id, f"{_TOP_LEVEL} and {condition}")
        ]
    return list({run.info.run_id: of_mlflow(run) for run in runs}.values())


def of_mlflow(run: MlflowRun) -> JournalRun:
    """Convert a run of mlflow's client."""
    info, data = run.info, run.data
    return JournalRun(
        *(info.run_id, info.run_name or "", info.status, info.start_time or 0),
        *(data.tags, data.params, data.metrics, info.end_time),
    )


def _begins(text: str) -> str:
    return f"attributes.run_id LIKE '{text}%'"


def _quoted(text: str) -> str:
    """`text` in quotes for MLflow's filters; "" if it contains both kinds of quotes."""
    return next((f"{mark}{text}{mark}" for mark in "'\"" if mark not in text), "")


def _of_kind(kind: str | None) -> str:
    return f"tags.{Tag.KIND} = '{kind}'" if kind else _TOP_LEVEL


def _search(client: MlflowClient, experiment_id: str, condition: str) -> list[MlflowRun]:
    runs: list[MlflowRun] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], condition, max_results=_PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _slice(uri: str, experiment_id: str, condition: str) -> list[JournalRun]:
    """Read runs with mlflow's own request, which applies its settings of passwords and TLS."""
    body: dict[str, Any] = {
        "experiment_ids": [experiment_id],
        "filter": condition,
        "max_results": _PAGE,
    }
    runs: list[JournalRun] = []
    while True:
        answer = _request(_credentials(uri), _SEARCH, "POST", json=body)
        page = verify_rest_response(answer, _SEARCH).json()
        runs += [_of_json(run) for run in page.get("runs", [])]
        if not page.get("next_page_token"):
            return runs
        body["page_token"] = page["next_page_token"]


def _of_json(run: Mapping[str, Any]) -> JournalRun:
    info, data = run["info"], run.get("data", {})
    tags, params, metrics = (
        {pair["key"]: pair.get("value", "") for pair in data.get(part, [])}
        for part in ("tags", "params", "metrics")
    )
    ended = info.get("end_time")
    return JournalRun(
        *(info["run_id"], info.get("run_name", ""), info["status"], int(info.get("start_time", 0))),
        *(tags, params),
        {key: float(value or 0) for key, value in metrics.items()},  # NaN comes as a word
        None if ended is None else int(ended),
    )
