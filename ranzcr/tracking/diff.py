"""Two runs of the journal side by side: what went in, what came out, and which one is better."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from ranzcr import predictions
from ranzcr.data.dataset import Dataset
from ranzcr.ensemble.score import Truth
from ranzcr.errors import ConfigError
from ranzcr.predictions import Predictions
from ranzcr.tracking import gates, journal, server
from ranzcr.tracking.tables import table, to_text

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
    """Run B against run A. Rows are (what, A's, B's), those of `aucs` end with B - A."""

    names: tuple[str, str]
    runs: list[Row]  # what each run is, has as inputs, and scored
    settings: list[Row]  # that differ; empty where the kinds do
    aucs: list[Row]  # macro, then by label; empty where the data sets differ
    verdict: str  # one line: how probably B is better, or why that is not known


def compare(a: str, b: str, data: Path | None = None) -> Difference:
    """Compare two top-level runs.

    Args:
        a: see `journal.resolve`.
        b: the same.
        data: the prepared data set that both were made on, for the paired bootstrap.

    Raises TrackingError for an unknown run, ConfigError where `data` is another data set.
    """
    client = server.connect()
    ids = journal.resolve(a), journal.resolve(b)
    with server.translated(client.tracking_uri):
        first, second = (client.get_run(run_id) for run_id in ids)
    digests = [run.data.tags.get("dataset_digest", "") for run in (first, second)]
    comparable = digests[0] == digests[1]
    if comparable:
        verdict = _verdict(client, first, second, data)
    else:
        of = " and ".join(digest[:_DIGEST] or "none" for digest in digests)
        verdict = f"A and B were made on different data sets ({of}): scores are not compared."
    return Difference(
        (_name(first), _name(second)),
        _described(first, second),
        _settings(first, second),
        _aucs(first.data.metrics, second.data.metrics) if comparable else [],
        verdict,
    )


def render(found: Difference) -> str:
    """Tables for the terminal, then the verdict."""
    headings = ["", *(f"{side}: {name}" for side, name in zip("AB", found.names, strict=True))]
    tables = [table("runs", headings, found.runs)]
    if found.settings:
        tables.append(table("settings that differ", headings, found.settings))
    if found.aucs:
        tables.append(table("AUC", [*headings, "B - A"], found.aucs))
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
        "run": run.info.run_id[: journal.SHORT],
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


def _aucs(a: Mapping[str, float], b: Mapping[str, float]) -> list[Row]:
    labels = sorted(name for name in {*a, *b} if name.startswith("auc/"))
    names = {"cv_auc": "macro", **{name: name.removeprefix("auc/") for name in labels}}
    return [
        _auc(shown, a.get(name), b.get(name)) for name, shown in names.items() if name in {*a, *b}
    ]


def _auc(label: str, a: float | None, b: float | None) -> Row:
    shown = ["" if auc is None else f"{auc:.4f}" for auc in (a, b)]
    return (label, *shown, "" if a is None or b is None else f"{b - a:+.4f}")


def _verdict(client: MlflowClient, a: MlflowRun, b: MlflowRun, data: Path | None) -> str:
    """How probably B is better, by the paired patient bootstrap; else how to find out."""
    digest = a.data.tags.get("dataset_digest", "")
    if data is None:
        return (
            "Is B better? Give --data DATASET, the folder of data set "
            f"{digest[:_DIGEST]}, for the paired patient bootstrap."
        )
    prepared = _open(data, digest)
    of_a, of_b = (_out_of_fold(client, run, prepared) for run in (a, b))
    if of_a is None or of_b is None:
        silent = a if of_a is None else b
        return (
            f"Is B better? Run {silent.info.run_id[: journal.SHORT]} has no out-of-fold "
            "predictions in the journal; ranzcr evaluate and ranzcr blend write them."
        )
    chance, studies = gates.chance_of_being_better(of_b, of_a, _truth(prepared))
    if math.isnan(chance):
        return f"Is B better? Not known: no label has both classes in {studies} common studies."
    return (
        f"B is better than A with probability {chance:.3f} (paired patient bootstrap, {studies} "
        "common studies)."
    )


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


def _truth(prepared: Dataset) -> gates.Truth:
    known = Truth.of_table(prepared.table.iloc[prepared.rows("train")], prepared.schema)
    return gates.Truth(
        dataset_digest=prepared.digest,
        uids=known.uids,
        targets=known.targets,
        patients=known.groups,
    )
