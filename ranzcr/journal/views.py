"""The journal's saved views in MLflow, declared as code, written to the server and linked to.

MLflow keeps a saved view in a tag of the experiment, `mlflow.sharedViewState.<id>`: JSON with a
name, times in milliseconds, and the compressed state of the page. `provision` writes VIEWS there.
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

from ranzcr.errors import ConfigError
from ranzcr.journal import remote, rows, ui
from ranzcr.journal.columns import stored_of
from ranzcr.journal.journal_run import SHORT, JournalRun
from ranzcr.tracking import server
from ranzcr.tracking.names import Kind, Metric, Param, Tag

TAG = "mlflow.sharedViewState."
OURS = "ranzcr-"  # prefix of our views' ids; views that people save have a UUID
_FOLDS = f"{OURS}folds-"  # the run id follows
_PACKED = "deflate;"
_WIDE_TAGS = (Tag.WEIGHTS, Tag.TEACHERS, Tag.DECISION)  # with long values

Chart = Mapping[str, Any]


def bars(metric: str) -> Chart:
    """One bar per run, or per group of runs."""
    return {"type": "BAR", "metricKey": metric}


def scatter(x: str, y: str) -> Chart:
    """One point per run that has both metrics."""
    axes = {name: {"key": key, "type": "METRIC"} for name, key in {"xaxis": x, "yaxis": y}.items()}
    return {"type": "SCATTER", **axes}


def parallel(params: Sequence[str], metric: str) -> Chart:
    """One line per run through its params to the metric, which sets the line's colour."""
    lines = {"selectedParams": list(params), "selectedMetrics": [metric], "showAllRuns": True}
    return {"type": "PARALLEL", **lines}


@dataclass(frozen=True, kw_only=True)
class View:
    """One page of MLflow: a table of runs, or charts of them if it has charts."""

    id: str
    name: str  # in MLflow's list of saved views
    runs: str  # filter in MLflow's search syntax
    columns: tuple[str, ...] = ()  # metrics.KEY, params.KEY or tags.KEY
    sort: str = f"metrics.{Metric.CV_AUC}"
    ascending: bool = False
    group_by: str | None = None  # a param; a group's metrics are the means of its runs
    charts: tuple[Chart, ...] = ()
    by_label: bool = False  # whether MLflow's own charts of auc/<label> are unfolded


_SINGLES = f"tags.{Tag.KIND} = '{Kind.SINGLE}'"
_SETTINGS = (
    *(Param.BACKBONE, Param.HEAD, "cfg.model.drop_path"),
    *(Param.IMAGE_SIZE, "cfg.data.batch_size", "cfg.data.augment"),
)

VIEWS = (
    View(
        id=f"{OURS}singles",
        name="Single models by CV",
        runs=_SINGLES,
        columns=tuple(stored_of(Kind.SINGLE)),
    ),
    View(
        id=f"{OURS}ensembles",
        name="Ensembles by CV",
        runs=f"tags.{Tag.KIND} = '{Kind.ENSEMBLE}'",
        columns=(*stored_of(Kind.ENSEMBLE), f"tags.{Tag.METHOD}", f"tags.{Tag.WEIGHTS}"),
    ),
    View(
        id=f"{OURS}heads",
        name="Heads compared",
        runs=_SINGLES,
        group_by=Param.HEAD,
        charts=(bars(Metric.CV_AUC),),
        by_label=True,
    ),
    View(
        id=f"{OURS}lb",
        name="CV against leaderboard",
        runs=f"metrics.{Metric.LB_PUBLIC} > 0",
        charts=tuple(scatter(Metric.CV_AUC, lb) for lb in (Metric.LB_PUBLIC, Metric.LB_PRIVATE)),
    ),
    View(
        id=f"{OURS}settings",
        name="Settings to CV",
        runs=_SINGLES,
        charts=(parallel(_SETTINGS, Metric.CV_AUC),),
    ),
)


def folds_view(run: JournalRun) -> View:
    """The view of an experiment's folds. Raises ConfigError if the run cannot have folds."""
    kind = run.tags.get(Tag.KIND)
    if kind != Kind.SINGLE:
        raise ConfigError(f"{run.experiment} is of kind {kind}; only single models have folds")
    metrics = (Metric.VALID_AUC, Metric.VAL_LOSS)
    metrics += (Metric.GPU_HOURS, Metric.SECONDS, Metric.IMAGES_PER_SECOND)
    return View(
        id=f"{_FOLDS}{run.run_id}",
        name=f"Folds of {run.experiment} ({run.run_id[:SHORT]})",
        runs=f"tags.{Tag.ROOT_KEY} = '{run.tags.get(Tag.RUN_KEY, '')}'",
        columns=(f"tags.{Tag.FOLD}", f"tags.{Tag.SEED}", *(f"metrics.{key}" for key in metrics)),
        sort=f"tags.{Tag.FOLD}",
        ascending=True,
    )


@dataclass(frozen=True)
class Link:
    name: str
    url: str


@dataclass(frozen=True)
class Provisioned:
    """Links to our views, and the ids of the views that were removed."""

    links: list[Link]
    removed: list[str]
    local: bool  # whether the links open only while `ranzcr ui` runs


def provision(folds_of: Iterable[str] = ()) -> Provisioned:
    """Write VIEWS to the journal, and a view of the folds of each experiment that is named.

    Only views that differ are written. Our views that are no longer defined are removed, and those
    of the folds of deleted experiments; views that people saved are left alone.

    Args:
        folds_of: single models, see `rows.find`.

    Raises TrackingError if a name is unknown or MLflow does not answer or refuses; ConfigError
    if a run has no folds.
    """
    requested = [rows.resolve(name) for name in folds_of]
    client = server.connect()
    experiment = server.experiment_id(client)
    with server.translated(client.tracking_uri), server.exclusive(client.tracking_uri):
        stored = _stored(client.get_experiment(experiment).tags)
        before = [key.removeprefix(_FOLDS) for key in stored if key.startswith(_FOLDS)]
        views = [*VIEWS, *_folds_views(client, experiment, {*requested, *before})]
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
    """The tags of our views among the experiment's tags, by view id."""
    prefix = f"{TAG}{OURS}"
    return {key.removeprefix(TAG): tags[key] for key in tags if key.startswith(prefix)}


def _folds_views(client: MlflowClient, experiment: str, run_ids: Iterable[str]) -> list[View]:
    """The views of the folds of these runs, without those of deleted runs."""
    listed = ", ".join(f"'{run_id}'" for run_id in sorted(run_ids))
    if not listed:
        return []
    runs = client.search_runs([experiment], f"attributes.run_id IN ({listed})")
    return [folds_view(remote.of_mlflow(run)) for run in runs]


def _url(page: str, view: View) -> str:
    mode = "CHART" if view.charts else "TABLE"
    return f"{page}&viewStateShareKey={view.id}&compareRunsMode={mode}"


def _tag(view: View, before: str) -> str:
    """The tag that holds `view`; `before`, the present tag, if it holds the same view."""
    now = int(time.time() * 1000)
    content = {"name": view.name, "createdAt": now, "updatedAt": now, "state": state(view)}
    present = unpack(before)
    if present is not None:
        if all(present[key] == content[key] for key in ("name", "state")):
            return before
        content["createdAt"] = present["createdAt"]
    return json.dumps({**content, "state": _pack(content["state"])})


def unpack(tag: str) -> dict[str, Any] | None:
    """Return the content of a saved view's tag, its state as JSON; None if it is damaged."""
    try:
        content = json.loads(tag)
        packed = base64.b64decode(content["state"].removeprefix(_PACKED), validate=True)
        return {
            "name": content["name"],
            "createdAt": int(content["createdAt"]),
            "state": json.loads(zlib.decompress(packed)),
        }
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        return None


def _pack(content: Any) -> str:
    packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode())
    return _PACKED + base64.b64encode(packed).decode()


def state(view: View) -> dict[str, Any]:
    """The state of MLflow's page of runs; names and values are those of MLflow's code."""
    names = [_column(source) for source in view.columns]
    grouping = {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": view.group_by}],
    }
    page = {
        "searchFilter": view.runs,
        "orderByKey": _column(view.sort),
        "orderByAsc": view.ascending,
        "selectedColumns": names,
        "columnOrder": ["attributes.`Run Name`", *names],
        "columnWidths": {_column(source): _width(source) for source in view.columns},
        "groupBy": grouping if view.group_by else None,
        "runsHiddenMode": "SHOW_ALL",  # by default the charts show the first 10 runs
    }
    return {**page, **_charts(view)} if view.charts else page


def _charts(view: View) -> dict[str, Any]:
    """Our charts on top; folded below them those that MLflow adds for all other metrics."""
    unfolded = {view.name: True, "auc": view.by_label, "Model metrics": False}
    layout = {"columns": len(view.charts), "cardHeight": 420}  # cards side by side, pixels
    return {
        "compareRunSections": [
            {"uuid": name, "name": name, "display": shown, **(layout if name == view.name else {})}
            for name, shown in unfolded.items()
        ],
        "compareRunCharts": [
            {"uuid": str(number), "metricSectionId": view.name, "runsCountToCompare": 100, **chart}
            for number, chart in enumerate(view.charts)
        ],
        "isAccordionReordered": True,  # otherwise sections are sorted by name
    }


def _column(source: str) -> str:
    """The name of a column in MLflow's table: "metrics.`cv_auc`" for "metrics.cv_auc"."""
    group, key = source.split(".", maxsplit=1)
    return f"{group}.`{key}`"


def _width(source: str) -> int:
    """Pixels that show the column's heading completely, with the sign that it is sorted by."""
    key = source.split(".", maxsplit=1)[1]
    return max(240 if key in _WIDE_TAGS else 104, 40 + 7 * len(key))
