"""The journal's pages in MLflow as code: saved views, written to the server and linked to.

MLflow keeps a saved view in a tag of the experiment, `mlflow.sharedViewState.<id>`, as JSON with a
name, times in milliseconds, and what the page shows, compressed. `provision` writes VIEWS there.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from ranzcr.errors import ConfigError
from ranzcr.journal import rows as journal
from ranzcr.journal import ui
from ranzcr.tracking import runs, server

TAG = "mlflow.sharedViewState."
OWN = "ranzcr-"  # ids that begin so are ours; MLflow's pages give a view that is saved there a UUID
_FOLDS = f"{OWN}folds-"  # the run id follows
_PACKED = "deflate;"
_PIXELS, _NARROW, _WIDE = 7, 104, 240  # of a column: per character of its heading, at least, long
_LONG = ("tags.weights", "tags.teachers", "tags.decision")  # their values are long

Chart = Mapping[str, Any]


def bars(metric: str) -> Chart:
    """One bar per run, or per group of runs."""
    return {"type": "BAR", "metricKey": metric}


def scatter(x: str, y: str) -> Chart:
    """One point per run that has both metrics."""
    return {"type": "SCATTER", "xaxis": _axis(x), "yaxis": _axis(y)}


def parallel(params: Sequence[str], metric: str) -> Chart:
    """One line per run through its params to the metric, which colours it."""
    lines = {"selectedParams": list(params), "selectedMetrics": [metric], "showAllRuns": True}
    return {"type": "PARALLEL", **lines}


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}


@dataclass(frozen=True, kw_only=True)
class View:
    """What one page shows: a table of runs, or charts of them where there are any."""

    id: str
    name: str  # as MLflow's list of saved views has it
    runs: str  # which ones, in the words of MLflow's search
    columns: tuple[str, ...] = ()
    sort: str = "metrics.cv_auc"
    rising: bool = False
    group_by: str | None = None  # a param; a group's metrics are the means of its runs
    charts: tuple[Chart, ...] = ()
    by_label: bool = False  # whether the charts that MLflow draws of auc/<label> are unfolded


_CV = ("metrics.cv_auc", "metrics.cv_auc_lo", "metrics.cv_auc_hi")
_LB = ("metrics.lb_public", "metrics.lb_private")
_MODEL = ("params.cfg.model.backbone", "params.cfg.model.head", "params.cfg.data.image_size")
_SETTINGS = (
    *("cfg.model.backbone", "cfg.model.head", "cfg.model.drop_path"),
    *("cfg.data.image_size", "cfg.data.batch_size", "cfg.data.augment"),
)

VIEWS = (
    View(
        id=f"{OWN}singles",
        name="Single models by CV",
        runs="tags.kind = 'single'",
        columns=(
            *(*_CV, *_LB, "metrics.gpu_hours", *_MODEL),
            *("tags.folds", "tags.parent", "tags.teachers", "tags.decision"),
        ),
    ),
    View(
        id=f"{OWN}ensembles",
        name="Ensembles by CV",
        runs="tags.kind = 'ensemble'",
        columns=(*_CV, *_LB, "tags.method", "tags.weights", "tags.decision"),
    ),
    View(
        id=f"{OWN}heads",
        name="Heads compared",
        runs="tags.kind = 'single'",
        group_by="cfg.model.head",
        charts=(bars("cv_auc"),),
        by_label=True,
    ),
    View(
        id=f"{OWN}lb",
        name="CV against leaderboard",
        runs="metrics.lb_public > 0",
        charts=(scatter("cv_auc", "lb_public"), scatter("cv_auc", "lb_private")),
    ),
    View(
        id=f"{OWN}settings",
        name="Settings to CV",
        runs="tags.kind = 'single'",
        charts=(parallel(_SETTINGS, "cv_auc"),),
    ),
)


def folds_view(single: MlflowRun) -> View:
    """The view of one experiment's folds. Raises ConfigError where the run has none."""
    tags, run_id = single.data.tags, single.info.run_id
    name, kind = tags.get("experiment", single.info.run_name), tags.get("kind")
    if kind != "single":
        raise ConfigError(f"{name} is of kind {kind}; only single models have folds")
    return View(
        id=f"{_FOLDS}{run_id}",
        name=f"Folds of {name} ({run_id[: journal.SHORT]})",
        runs=f"tags.root_key = '{tags.get(runs.KEY, '')}'",
        columns=(
            *("tags.fold", "tags.seed", "metrics.valid_auc", "metrics.val_loss"),
            *("metrics.gpu_hours", "metrics.seconds", "metrics.images_per_second"),
        ),
        sort="tags.fold",
        rising=True,
    )


@dataclass(frozen=True)
class Link:
    name: str
    url: str


@dataclass(frozen=True)
class Provisioned:
    """The views of ours that the journal now has, and the ids of those that were removed."""

    links: list[Link]
    removed: list[str]
    local: bool  # the links open while `ranzcr ui` runs


def provision(folds_of: Iterable[str] = ()) -> Provisioned:
    """Write VIEWS to the journal, and one of the folds of each experiment that is named.

    Done again it changes only what differs. Views of ours that are no longer defined, and those of
    folds whose experiment was deleted, are removed; views that people saved are left alone.

    Args:
        folds_of: single models, see `journal.resolve`.

    Raises TrackingError where a name is unknown, or MLflow does not answer or refuses; ConfigError
    where a name has no folds.
    """
    asked = [journal.resolve(name) for name in folds_of]
    client = server.connect()
    experiment = server.experiment_id(client)
    with server.translated(client.tracking_uri), server.exclusive(client.tracking_uri):
        stored = _stored(client.get_experiment(experiment).tags)
        before = [key.removeprefix(_FOLDS) for key in stored if key.startswith(_FOLDS)]
        views = [*VIEWS, *_folds_views(client, experiment, {*asked, *before})]
        for view in views:
            tag = _tag(view, stored.get(view.id, ""))
            if tag != stored.get(view.id):
                client.set_experiment_tag(experiment, f"{TAG}{view.id}", tag)
        removed = sorted(stored.keys() - {view.id for view in views})
        for key in removed:
            client.delete_experiment_tag(experiment, f"{TAG}{key}")
    pages = ui.command()
    links = [Link(view.name, _url(pages.link, view)) for view in views]
    return Provisioned(links, removed, local=bool(pages.argv))


def _stored(tags: Mapping[str, str]) -> dict[str, str]:
    """Our views among an experiment's tags, by id."""
    begin = f"{TAG}{OWN}"
    return {key.removeprefix(TAG): tags[key] for key in tags if key.startswith(begin)}


def _folds_views(client: MlflowClient, experiment: str, run_ids: Iterable[str]) -> list[View]:
    """The views of the folds of these runs, but of those that are deleted."""
    listed = ", ".join(f"'{run_id}'" for run_id in sorted(run_ids))
    if not listed:
        return []
    found = client.search_runs([experiment], f"attributes.run_id IN ({listed})")
    return [folds_view(run) for run in found]


def _url(page: str, view: View) -> str:
    mode = "CHART" if view.charts else "TABLE"
    return f"{page}&viewStateShareKey={view.id}&compareRunsMode={mode}"


def _tag(view: View, before: str) -> str:
    """The tag that holds `view`; `before`, what the tag held, where that says the same."""
    now = int(time.time() * 1000)
    told = {"name": view.name, "createdAt": now, "updatedAt": now, "state": state(view)}
    kept = unpack(before)
    if kept is not None:
        if all(kept[key] == told[key] for key in ("name", "state")):
            return before
        told["createdAt"] = kept["createdAt"]
    return json.dumps({**told, "state": _pack(told["state"])})


def unpack(tag: str) -> dict[str, Any] | None:
    """What a saved view's tag holds, its state as JSON; None where it is damaged."""
    try:
        told = json.loads(tag)
        packed = base64.b64decode(told["state"].removeprefix(_PACKED), validate=True)
        return {
            "name": told["name"],
            "createdAt": int(told["createdAt"]),
            "state": json.loads(zlib.decompress(packed)),
        }
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        return None


def _pack(told: Any) -> str:
    packed = zlib.compress(json.dumps(told, separators=(",", ":")).encode())
    return _PACKED + base64.b64encode(packed).decode()


def state(view: View) -> dict[str, Any]:
    """What MLflow's page of runs is told: names and values are those of its own code."""
    columns = [_column(name) for name in view.columns]
    grouped = {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": view.group_by}],
    }
    told = {
        "searchFilter": view.runs,
        "orderByKey": _column(view.sort),
        "orderByAsc": view.rising,
        "selectedColumns": columns,
        "columnOrder": ["attributes.`Run Name`", *columns],
        "columnWidths": {_column(name): _width(name) for name in view.columns},
        "groupBy": grouped if view.group_by else None,
        "runsHiddenMode": "SHOW_ALL",  # else the charts have the first 10 runs
    }
    return {**told, **_charts(view)} if view.charts else told


def _charts(view: View) -> dict[str, Any]:
    """Our charts on top; below, folded, those that MLflow adds for each metric without a chart."""
    unfolded = {view.name: True, "auc": view.by_label, "Model metrics": False}
    ours = {"columns": len(view.charts), "cardHeight": 420}  # cards side by side, pixels
    return {
        "compareRunSections": [
            {"uuid": name, "name": name, "display": display, **(ours if name == view.name else {})}
            for name, display in unfolded.items()
        ],
        "compareRunCharts": [
            {"uuid": str(number), "metricSectionId": view.name, "runsCountToCompare": 100, **chart}
            for number, chart in enumerate(view.charts)
        ],
        "isAccordionReordered": True,  # else sections are sorted by name
    }


def _column(name: str) -> str:
    """ "metrics.cv_auc" as MLflow's table names its columns: "metrics.`cv_auc`"."""
    group, key = name.split(".", maxsplit=1)
    return f"{group}.`{key}`"


def _width(name: str) -> int:
    """Pixels that show a column's heading whole, with the sign that it is sorted by."""
    heading = 40 + _PIXELS * len(name.split(".", maxsplit=1)[1])
    return max(_WIDE if name in _LONG else _NARROW, heading)
