"""Opening the runs of the journal: the key, name and tags of each kind.

    single    one experiment on one data set, all folds     -> `single_run_of`
      fold    one fold and seed of it                       -> `fold_run`
    pseudo    one set of soft labels                        -> `pseudo_run`
    ensemble  one blend                                     -> `ensemble_run`

A run is found again by its key, so that a retried or resumed task continues in its own run, and
the same experiment on the same data stays one row of the journal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import load_text
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from ranzcr.config import Experiment
from ranzcr.errors import TrackingError
from ranzcr.tracking import outbox, params, provenance, runs, server
from ranzcr.tracking.names import Kind, Metric, Param, Tag
from ranzcr.tracking.runs import Run

_SINGLE = {Tag.KIND: Kind.SINGLE, Tag.STAGE: "evaluate"}
_ONLY_OF_FOLDS = (Tag.FOLD, Tag.SEED, Tag.ROOT_KEY, Tag.RUN_KEY, Tag.ALIVE_AT)
_SETTINGS = "experiment.yaml"  # artifact of an experiment and of its folds
_DIGEST = 36  # characters that MLflow keeps of a data set's digest; the tag has all of them


@contextmanager
def fold_run(
    experiment: Experiment,
    *,
    dataset_digest: str,
    fold: int,
    labels: Sequence[str],
    dataset_path: Path | None = None,
    teachers: Sequence[str] = (),
    soft_labels: str = "",
) -> Iterator[Run]:
    """Open the run of one fold, below the run of its experiment; FAILED if the block raises.

    Args:
        experiment: fully resolved.
        dataset_digest: of the prepared data set.
        fold: the held-out fold.
        labels: names, recorded with the data set.
        dataset_path: folder of the data set, recorded as its source.
        teachers: experiments whose soft labels it learns from; if empty, the experiment's own list.
        soft_labels: digest of these soft labels; other soft labels make another run.

    KFP's own MLflow plugin opens a run per task and names it in MLFLOW_RUN_ID: then that run is
    named and tagged, and the plugin ends it. It stays below the plugin's run of the pipeline; the
    run of the experiment is made when its folds are evaluated.
    Raises TrackingError if MLflow does not answer at the start; later failures stop nothing.
    """
    client, task_run = _connect()
    seed = experiment.training.seed
    root_key = _single_key(experiment, dataset_digest, soft_labels)
    shared_tags = _experiment_tags(experiment, dataset_digest, teachers, soft_labels)
    tags = {
        **shared_tags,
        Tag.KIND: Kind.FOLD,
        Tag.STAGE: "train",
        Tag.FOLD: str(fold),
        Tag.SEED: str(seed),
        Tag.ROOT_KEY: root_key,
    }
    settings = params.of_experiment(experiment)
    key = runs.make_key(root_key, fold, seed)
    name = f"{experiment.name} fold {fold}"
    dataset = (dataset_digest, labels, dataset_path)
    if task_run is None:
        root = _create_root(client, root_key, experiment, shared_tags, dataset)
        run = runs.find_or_create(client, key, name, tags, settings, parent=root)
    else:
        run = runs.attach(client, task_run, key, name, tags, settings)
    _log_dataset(run, *dataset)
    with runs.ending(run):
        yield run


@contextmanager
def single_run_of(fold_run_id: str) -> Iterator[Run]:
    """Open the run of the experiment that a fold run belongs to.

    Raises TrackingError if the journal has no such fold run.
    """
    client, _ = _connect()
    with server.translated(client.tracking_uri):
        fold = client.get_run(fold_run_id)
    key = fold.data.tags.get(Tag.ROOT_KEY)
    if key is None:
        raise TrackingError(
            f"run {fold_run_id} is not the run of a fold; give predictions made by ranzcr predict"
        )
    tags = {
        name: value
        for name, value in fold.data.tags.items()
        if name not in _ONLY_OF_FOLDS and (name == Tag.NOTE or not name.startswith("mlflow."))
    }
    name = tags[Tag.EXPERIMENT]
    run = runs.find_or_create(client, key, name, {**tags, **_SINGLE}, fold.data.params)
    _copy_inputs(fold, run)
    run.settle()
    with runs.ending(run):
        yield run


@contextmanager
def pseudo_run(
    *,
    teachers: Sequence[str],
    dataset_digest: str,
    digest: str,
    counts: Mapping[str, int],
    teacher_runs: Sequence[str] = (),
) -> Iterator[Run]:
    """Open the run of one set of soft labels.

    Args:
        teachers: experiments whose predictions it is made from.
        teacher_runs: for each teacher its run, or that of one of its folds, for the lineage.
        digest: of the soft labels.
        counts: rows by split or source, written as metrics `rows/<name>`.
    """
    client, _ = _connect()
    tags = {
        **_common_tags(
            Kind.PSEUDO, "pseudo", f"soft labels of {'+'.join(teachers)}", dataset_digest
        ),
        Tag.TEACHERS: ",".join(teachers),
        Tag.DIGEST: digest,
        **_lineage(Tag.TEACHER_RUNS, client, teacher_runs),
    }
    key = runs.make_key(Kind.PSEUDO, dataset_digest, digest)
    run = runs.find_or_create(client, key, tags[Tag.EXPERIMENT], tags, {})
    _log_dataset(run, dataset_digest)
    with runs.ending(run):
        run.log_metrics({f"{Metric.ROWS}{split}": count for split, count in counts.items()})
        yield run


@contextmanager
def ensemble_run(
    weights: Mapping[str, float],
    *,
    dataset_digest: str,
    method: str,
    digest: str,
    member_runs: Sequence[str] = (),
) -> Iterator[Run]:
    """Open the run of one blend, whose name in the journal is its members joined by "+".

    Args:
        weights: experiment -> weight, in the order of the members; they sum to 1.
        method: how the weights were found.
        digest: of the blend.
        member_runs: for each member its run, or that of one of its folds, for the lineage.
    """
    client, _ = _connect()
    tags = {
        **_common_tags(Kind.ENSEMBLE, "blend", "+".join(weights), dataset_digest),
        Tag.MEMBERS: ",".join(weights),
        Tag.WEIGHTS: json.dumps(dict(weights)),
        Tag.METHOD: method,
        Tag.DIGEST: digest,
        **_lineage(Tag.MEMBER_RUNS, client, member_runs),
    }
    key = runs.make_key(Kind.ENSEMBLE, dataset_digest, digest)
    run = runs.find_or_create(client, key, tags[Tag.EXPERIMENT], tags, {Param.METHOD: method})
    _log_dataset(run, dataset_digest)
    with runs.ending(run):
        yield run


def run_of(run_id: str) -> Run:
    """Return a run of the journal, to write to at once.

    Raises TrackingError if there is no such run or MLflow does not answer.
    """
    client, _ = _connect()
    with server.translated(client.tracking_uri):
        client.get_run(run_id)
    return Run(client, run_id)


def _single_key(experiment: Experiment, dataset_digest: str, soft_labels: str) -> runs.Key:
    code = provenance.code_version()
    return runs.make_key(Kind.SINGLE, experiment.config_hash, dataset_digest, soft_labels, code)


def _connect() -> tuple[MlflowClient, str | None]:
    """Return a client of the journal, and the run that KFP's plugin opened for this task, if any.

    First sends what earlier processes could not send. The plugin's variables are removed before
    mlflow reads them: it would rename that run, and write our runs into the plugin's experiment.
    """
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    task_run = os.environ.pop("MLFLOW_RUN_ID", None)
    client = server.connect()
    outbox.recover(client)
    return client, task_run


def _lineage(tag: str, client: MlflowClient, run_ids: Sequence[str]) -> dict[str, str]:
    """Return the tag with the journal's rows that runs belong to: ids, or keys of rows to come."""
    rows = [_row_of(client, run_id) for run_id in run_ids]
    return {tag: ",".join(rows)} if rows else {}


def _row_of(client: MlflowClient, run_id: str) -> str:
    if not run_id:
        return ""
    with server.translated(client.tracking_uri), suppress(MlflowException):
        key: str | None = client.get_run(run_id).data.tags.get(Tag.ROOT_KEY)
        if key is None:
            return run_id
        root = runs.find(client, key)
        return str(root.info.run_id) if root else key  # evaluate will make this row
    return ""


def _copy_inputs(fold: MlflowRun, run: Run) -> None:
    """Give the run of an experiment the data set and the settings of one of its folds."""
    for used in fold.inputs.dataset_inputs[:1] if fold.inputs else ():
        dataset = used.dataset
        source, profile = json.loads(dataset.source), json.loads(dataset.profile or "{}")
        run.log_dataset(dataset.name, dataset.digest, source["uri"], profile)
    with suppress(MlflowException, OSError):  # a fold that was cut off has no files yet
        run.log_text(load_text(f"{fold.info.artifact_uri}/{_SETTINGS}"), _SETTINGS)


def _create_root(
    client: MlflowClient,
    key: runs.Key,
    experiment: Experiment,
    tags: Mapping[str, str],
    dataset: tuple[str, Sequence[str], Path | None],
) -> str:
    """Return the id of an experiment's run, which ends with its folds, not with this process."""
    settings = params.of_experiment(experiment)
    root = runs.find_or_create(client, key, experiment.name, tags, settings, ends=False)
    root.log_text(experiment.to_yaml(), _SETTINGS)
    _log_dataset(root, *dataset)
    root.close()
    return root.run_id


def _experiment_tags(
    experiment: Experiment, dataset_digest: str, teachers: Sequence[str], soft_labels: str
) -> dict[str, str]:
    """Return the tags that the run of an experiment and the runs of its folds share."""
    optional = {
        Tag.TEACHERS: ",".join(teachers or experiment.teachers),
        Tag.SOFT_LABELS: soft_labels,
        Tag.PARENT: experiment.parent or "",
        Tag.NOTE: experiment.about,
    }
    return {
        **_common_tags(Kind.SINGLE, _SINGLE[Tag.STAGE], experiment.name, dataset_digest),
        **{name: value for name, value in optional.items() if value},
    }


def _common_tags(kind: str, stage: str, name: str, dataset_digest: str) -> dict[str, str]:
    return {
        **provenance.tags(),
        Tag.KIND: kind,
        Tag.STAGE: stage,
        Tag.EXPERIMENT: name,
        Tag.DATASET_DIGEST: dataset_digest,
    }


def _log_dataset(
    run: Run, digest: str, labels: Sequence[str] = (), path: Path | None = None
) -> None:
    source = path.resolve().as_uri() if path else None
    profile = {"labels": list(labels), "digest": digest}
    run.log_dataset("ranzcr", digest[:_DIGEST], source, profile)
