"""Two runs of the journal side by side: what went in, what came out, and which one is better."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from ranzcr import predictions
from ranzcr.data.dataset import Dataset
from ranzcr.ensemble import bootstrap
from ranzcr.ensemble.score import Truth
from ranzcr.errors import ConfigError, DataError
from ranzcr.journal import rows as journal
from ranzcr.journal.reading import SHORT
from ranzcr.labels import UID
from ranzcr.predictions import Predictions
from ranzcr.tables import table, to_text
from ranzcr.tracking import server

Row = tuple[str, ...]

_OUT_OF_FOLD = {"single": "oof.parquet", "ensemble": "blend/oof.parquet"}  # artifact by kind
_DIGEST = 12  # characters of a digest that are shown
_INPUTS = {
    "data": "dataset_digest",
    "code": "code",
    "git commit": "git_commit",
    "teachers": "teachers",
    "soft labels": "soft_labels",
}


@dataclass(frozen=True)
class Difference:
    """Run B against run A. Rows are (what, A's, B's).

    Those of `aucs` end with B - A and, where it was tested, how probably B is better.
    """

    names: tuple[str, str]
    runs: list[Row]  # what each run is, has as inputs, and scored
    settings: list[Row]  # that differ; empty where the kinds do
    aucs: list[Row]  # macro, then by label; empty where the data sets differ
    verdict: str  # one line: how probably B is better, or why that is not known


@dataclass(frozen=True)
class _Test:
    """The paired patient bootstrap: its verdict, and for "macro" and each label its chance."""

    verdict: str
    chances: Mapping[str, float] = field(default_factory=dict)


def compare(a: str, b: str, data: Path | None = None) -> Difference:
    """Compare two top-level runs.

    Args:
        a: see `journal.resolve`.
        b: the same.
        data: the prepared data set that both were made on, for the paired bootstrap; the one that
            the journal notes where None, if it is on this machine.

    Raises TrackingError for an unknown run, ConfigError where both are the same one and where
    `data` is another data set.
    """
    ids = journal.resolve(a), journal.resolve(b)
    if ids[0] == ids[1]:
        raise ConfigError(f"{a} and {b} are one run, {ids[0][:SHORT]}; give two to compare")
    client = server.connect()
    with server.translated(client.tracking_uri):
        first, second = (client.get_run(run_id) for run_id in ids)
    digests = [run.data.tags.get("dataset_digest", "") for run in (first, second)]
    comparable = digests[0] == digests[1]
    if comparable:
        test = _tested(client, first, second, data)
    else:
        of = " and ".join(digest[:_DIGEST] or "none" for digest in digests)
        test = _Test(f"A and B were made on different data sets ({of}): scores are not compared.")
    return Difference(
        (_name(first), _name(second)),
        _described(first, second),
        _settings(first, second),
        _aucs(first.data.metrics, second.data.metrics, test.chances) if comparable else [],
        test.verdict,
    )


def render(found: Difference) -> str:
    """Tables for the terminal, then the verdict."""
    headings = ["", *(f"{side}: {name}" for side, name in zip("AB", found.names, strict=True))]
    tables = [table("runs", headings, found.runs)]
    if found.settings:
        tables.append(table("settings that differ", headings, found.settings))
    if found.aucs:
        more = ["B - A", "B is better"][: len(found.aucs[0]) - len(headings)]
        tables.append(table("AUC", [*headings, *more], found.aucs))
    return to_text(tables) + found.verdict + "\n"


def _name(run: MlflowRun) -> str:
    return run.data.tags.get("experiment", run.info.run_name)


def _described(a: MlflowRun, b: MlflowRun) -> list[Row]:
    """What each run is and what it was made of; what neither of them has is left out."""
    sides = [_description(run) for run in (a, b)]
    rows = [(what, *(side[what] for side in sides)) for what in sides[0]]
    return [row for row in rows if any(row[1:])]


def _description(run: MlflowRun) -> dict[str, str]:
    tags = run.data.tags
    inputs = {what: tags.get(tag, "") for what, tag in _INPUTS.items()}
    for what in ("data", "git commit", "soft labels"):
        inputs[what] = inputs[what][:_DIGEST]
    return {
        "run": run.info.run_id[:SHORT],
        "kind": tags["kind"],
        **inputs,
        "members": journal.members(tags),
        "CV [95%]": journal.interval(run.data.metrics),
    }


def _settings(a: MlflowRun, b: MlflowRun) -> list[Row]:
    """Settings that differ, without the name, which heads the columns."""
    if a.data.tags["kind"] != b.data.tags["kind"]:  # an experiment and a blend share none
        return []
    one, other = a.data.params, b.data.params
    names = sorted(name for name in {*one, *other} - {"cfg.name"} if name.startswith("cfg."))
    rows = [(name.removeprefix("cfg."), one.get(name, ""), other.get(name, "")) for name in names]
    return [row for row in rows if row[1] != row[2]]


def _aucs(
    a: Mapping[str, float], b: Mapping[str, float], chances: Mapping[str, float]
) -> list[Row]:
    labels = sorted(name for name in {*a, *b} if name.startswith("auc/"))
    names = {"cv_auc": "macro", **{name: name.removeprefix("auc/") for name in labels}}
    rows = [
        _auc(shown, a.get(name), b.get(name)) for name, shown in names.items() if name in {*a, *b}
    ]
    if not chances:
        return rows
    return [(*row, _chance(chances.get(row[0], math.nan))) for row in rows]


def _auc(label: str, a: float | None, b: float | None) -> Row:
    shown = ["" if auc is None else f"{auc:.4f}" for auc in (a, b)]
    return (label, *shown, "" if a is None or b is None else f"{b - a:+.4f}")


def _chance(chance: float) -> str:
    return "" if math.isnan(chance) else f"{chance:.3f}"


def _tested(client: MlflowClient, a: MlflowRun, b: MlflowRun, data: Path | None) -> _Test:
    """How probably B is better, by the paired patient bootstrap; else how to find out."""
    digest = a.data.tags.get("dataset_digest", "")
    prepared = _open(data, digest) if data is not None else _noted((a, b), digest)
    if prepared is None:
        return _Test(
            f"Is B better? Give --data DATASET, the folder of data set {digest[:_DIGEST]}, for "
            "the paired patient bootstrap; it is not where the journal notes it."
        )
    of_a, of_b = (_out_of_fold(client, run, prepared) for run in (a, b))
    if of_a is None or of_b is None:
        silent = a if of_a is None else b
        return _Test(
            f"Is B better? Run {silent.info.run_id[:SHORT]} has no out-of-fold predictions in the "
            "journal; ranzcr evaluate and ranzcr blend write them."
        )
    return _paired(of_a, of_b, prepared)


def _paired(a: Predictions, b: Predictions, prepared: Dataset) -> _Test:
    """B against A on the studies that both predict."""
    train = prepared.table.iloc[prepared.rows("train")]
    both = train[train[UID].isin(a.uids) & train[UID].isin(b.uids)]
    known, uids = Truth.of_table(both, prepared.schema), both[UID].to_numpy()
    unknown = f"Is B better? Not known: no label has both classes in {len(uids)} common studies."
    if not len(uids):
        return _Test(unknown)
    of_a, of_b = (part.aligned(uids).values for part in (a, b))
    macro, labels = bootstrap.paired_labels(known.targets, of_b, of_a, known.groups)
    if math.isnan(macro):
        return _Test(unknown)
    return _Test(
        f"B is better than A with probability {macro:.3f} (paired patient bootstrap, {len(uids)} "
        "common studies).",
        {"macro": macro, **dict(zip(prepared.schema.names, labels, strict=True))},
    )


def _noted(runs: Iterable[MlflowRun], digest: str) -> Dataset | None:
    """The data set where its runs say that it lies; None where it is not there."""
    inputs = (run.inputs.dataset_inputs if run.inputs else [] for run in runs)
    sources = [used.dataset.source for noted in inputs for used in noted]
    for folder in filter(None, map(_folder, sources)):
        with suppress(DataError, OSError):
            prepared = Dataset.open(folder)
            if prepared.digest == digest:
                return prepared
    return None


def _folder(source: str) -> Path | None:
    """The folder that MLflow notes as a data set's source, if it is one of a file system."""
    try:
        uri = urlparse(json.loads(source)["uri"])
    except (ValueError, KeyError, TypeError):  # noted by someone else
        return None
    return Path(url2pathname(uri.path)) if uri.scheme == "file" else None


def _open(data: Path, digest: str) -> Dataset:
    prepared = Dataset.open(data)
    if prepared.digest != digest:
        raise ConfigError(
            f"--data {data}: data set {prepared.digest[:_DIGEST]}, A and B were made on "
            f"{digest[:_DIGEST] or 'none'}; give that one"
        )
    return prepared


def _out_of_fold(client: MlflowClient, run: MlflowRun, prepared: Dataset) -> Predictions | None:
    """The out-of-fold predictions that a run keeps; None where it keeps none."""
    path = _OUT_OF_FOLD.get(run.data.tags["kind"])
    if path is None:
        return None
    run_id, folder = run.info.run_id, path.rpartition("/")[0]
    with tempfile.TemporaryDirectory() as scratch, server.translated(client.tracking_uri):
        kept = {file.path for file in client.list_artifacts(run_id, folder or None)}
        if path not in kept:
            return None
        file = client.download_artifacts(run_id, path, scratch)
        return predictions.read(file, prepared.schema, prepared.digest)
