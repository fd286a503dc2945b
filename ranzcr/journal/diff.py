"""Compares two runs of the journal: inputs, settings, scores, and which one is better."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from mlflow import MlflowClient

from ranzcr import predictions
from ranzcr.data.dataset import Dataset
from ranzcr.ensemble import bootstrap
from ranzcr.ensemble.score import Truth
from ranzcr.errors import ConfigError, DataError
from ranzcr.journal import rows
from ranzcr.journal.columns import BY_NAME, COLUMNS
from ranzcr.journal.journal_run import SHORT, JournalRun, Record
from ranzcr.labels import UID
from ranzcr.predictions import Predictions
from ranzcr.tables import table, to_text
from ranzcr.tracking import server
from ranzcr.tracking.names import Kind, Metric, Param, Tag

Row = tuple[str, ...]

_OUT_OF_FOLD = {Kind.SINGLE: "oof.parquet", Kind.ENSEMBLE: "blend/oof.parquet"}  # artifacts
_DIGEST = 12  # characters of a digest that are shown


@dataclass(frozen=True)
class Difference:
    """Run B compared with run A. The rows are (description, A's value, B's value).

    Rows of `aucs` also have B - A and, after a test, the probability that B is better.
    """

    names: tuple[str, str]
    runs: list[Row]  # kind, inputs and score of each run
    settings: list[Row]  # that differ; empty if the kinds differ
    aucs: list[Row]  # macro, then each label; empty if the data sets differ
    verdict: str  # one line: the probability that B is better, or why it is not known


@dataclass(frozen=True)
class _Test:
    """The verdict of the paired patient bootstrap, and the probability that B is better for
    "macro" and each label."""

    verdict: str
    probabilities: Mapping[str, float] = field(default_factory=dict)


def compare(a: str, b: str, data: Path | None = None) -> Difference:
    """Compare two top-level runs.

    Args:
        a: see `rows.find`.
        b: see `rows.find`.
        data: the prepared data set of both runs, for the paired bootstrap. If None, the data set is
            opened at the path that the journal has for it, if it is still there.

    Raises TrackingError for an unknown run, ConfigError if both are the same run and if `data` is
    another data set.
    """
    first, second = rows.find(a), rows.find(b)
    if first.run_id == second.run_id:
        raise ConfigError(f"{a} and {b} are the same run, {first.run_id[:SHORT]}; name two runs")
    digests = [_digest(run) for run in (first, second)]
    comparable = digests[0] == digests[1]
    if comparable:
        test = _test(first, second, data)
    else:
        shown = " and ".join(digest[:_DIGEST] or "none" for digest in digests)
        test = _Test(f"A and B use different data sets ({shown}): scores are not compared.")
    return Difference(
        (first.experiment, second.experiment),
        _descriptions(first, second),
        _settings(first, second),
        _aucs(first.metrics, second.metrics, test.probabilities) if comparable else [],
        test.verdict,
    )


def render(difference: Difference) -> str:
    """Return tables for the terminal, then the verdict."""
    headings = ["", *(f"{side}: {name}" for side, name in zip("AB", difference.names, strict=True))]
    tables = [table("runs", headings, difference.runs)]
    if difference.settings:
        tables.append(table("settings that differ", headings, difference.settings))
    if difference.aucs:
        more = ["B - A", "B is better"][: len(difference.aucs[0]) - len(headings)]
        tables.append(table("AUC", [*headings, *more], difference.aucs))
    return to_text(tables) + difference.verdict + "\n"


def _digest(run: JournalRun) -> str:
    return run.tags.get(Tag.DATASET_DIGEST, "")


def _descriptions(a: JournalRun, b: JournalRun) -> list[Row]:
    """The run ids and the columns that are compared, without those that neither run has."""
    columns = [BY_NAME["run_id"], *(column for column in COLUMNS if column.compared)]
    described = [
        (column.heading or column.name, *(column.text(column.of(run, Record())) for run in (a, b)))
        for column in columns
    ]
    return [row for row in described if any(row[1:])]


def _settings(a: JournalRun, b: JournalRun) -> list[Row]:
    """The settings that differ, without the name, which is in the headings."""
    if a.tags[Tag.KIND] != b.tags[Tag.KIND]:  # an experiment and a blend have no common settings
        return []
    names = sorted({*a.params, *b.params} - {Param.NAME})
    return [
        (name.removeprefix(Param.SETTINGS), a.params.get(name, ""), b.params.get(name, ""))
        for name in names
        if name.startswith(Param.SETTINGS) and a.params.get(name, "") != b.params.get(name, "")
    ]


def _aucs(
    a: Mapping[str, float], b: Mapping[str, float], probabilities: Mapping[str, float]
) -> list[Row]:
    labels = sorted(name for name in {*a, *b} if name.startswith(Metric.LABEL_AUC))
    names = {Metric.CV_AUC: "macro"}
    names |= {name: name.removeprefix(Metric.LABEL_AUC) for name in labels}
    aucs = [_auc(label, a.get(name), b.get(name)) for name, label in names.items()]
    aucs = [row for row in aucs if any(row[1:])]
    if not probabilities:
        return aucs
    return [(*row, _probability(probabilities.get(row[0], math.nan))) for row in aucs]


def _auc(label: str, a: float | None, b: float | None) -> Row:
    shown = ["" if auc is None else f"{auc:.4f}" for auc in (a, b)]
    return (label, *shown, "" if a is None or b is None else f"{b - a:+.4f}")


def _probability(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _test(a: JournalRun, b: JournalRun, data: Path | None) -> _Test:
    """Test by the paired patient bootstrap whether B is better, or say what is missing for it."""
    client, digest = server.connect(), _digest(a)
    dataset = _open(data, digest) if data else _open_noted(client, (a, b), digest)
    if dataset is None:
        return _Test(
            f"Is B better? Give --data DATASET, the folder of data set {digest[:_DIGEST]}, for "
            "the paired patient bootstrap; it is not at the path that the journal has for it."
        )
    of_a, of_b = (_out_of_fold(client, run, dataset) for run in (a, b))
    if of_a is None or of_b is None:
        missing = a if of_a is None else b
        return _Test(
            f"Is B better? Run {missing.run_id[:SHORT]} has no out-of-fold predictions in the "
            "journal; ranzcr evaluate and ranzcr blend write them."
        )
    return _bootstrap(of_a, of_b, dataset)


def _bootstrap(a: Predictions, b: Predictions, dataset: Dataset) -> _Test:
    """Compare B with A on the studies that both have predictions for."""
    train = dataset.table.iloc[dataset.rows("train")]
    both = train[train[UID].isin(a.uids) & train[UID].isin(b.uids)]
    truth, uids = Truth.of_table(both, dataset.schema), both[UID].to_numpy()
    unknown = f"Is B better? Not known: no label has both classes in {len(uids)} common studies."
    if not len(uids):
        return _Test(unknown)
    of_a, of_b = (part.aligned(uids).values for part in (a, b))
    macro, labels = bootstrap.paired_labels(truth.targets, of_b, of_a, truth.groups)
    if math.isnan(macro):
        return _Test(unknown)
    return _Test(
        f"B is better than A with probability {macro:.3f} (paired patient bootstrap, {len(uids)} "
        "common studies).",
        {"macro": macro, **dict(zip(dataset.schema.names, labels, strict=True))},
    )


def _open_noted(
    client: MlflowClient, runs: tuple[JournalRun, JournalRun], digest: str
) -> Dataset | None:
    """Open the data set at the path that its runs have for it; None if it is not there."""
    with server.translated(client.tracking_uri):
        inputs = [client.get_run(run.run_id).inputs for run in runs]
    sources = [used.dataset.source for noted in inputs if noted for used in noted.dataset_inputs]
    for folder in filter(None, map(_folder, sources)):
        with suppress(DataError, OSError):
            dataset = Dataset.open(folder, verify=False)
            if dataset.digest == digest:
                return dataset
    return None


def _folder(source: str) -> Path | None:
    """Return the folder in MLflow's description of a data set's source, if it is a local path."""
    try:
        uri = urlparse(json.loads(source)["uri"])
    except (ValueError, KeyError, TypeError):  # not written by ranzcr
        return None
    return Path(url2pathname(uri.path)) if uri.scheme == "file" else None


def _open(data: Path, digest: str) -> Dataset:
    dataset = Dataset.open(data, verify=False)
    if dataset.digest != digest:
        raise ConfigError(
            f"--data {data}: data set {dataset.digest[:_DIGEST]}, but A and B use "
            f"{digest[:_DIGEST] or 'none'}; give that one"
        )
    return dataset


def _out_of_fold(client: MlflowClient, run: JournalRun, dataset: Dataset) -> Predictions | None:
    """Return the out-of-fold predictions among a run's artifacts; None if there are none."""
    path = _OUT_OF_FOLD.get(run.tags[Tag.KIND])
    if path is None:
        return None
    folder = path.rpartition("/")[0]
    with tempfile.TemporaryDirectory() as scratch, server.translated(client.tracking_uri):
        artifacts = {file.path for file in client.list_artifacts(run.run_id, folder or None)}
        if path not in artifacts:
            return None
        file = client.download_artifacts(run.run_id, path, scratch)
        return predictions.read(file, dataset.schema, dataset.digest)
