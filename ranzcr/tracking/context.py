"""Opening the journal's runs: what each kind is keyed by, named, and described with.

    single    one experiment on one data set, all folds     -> `single_run_of`
      fold    one fold and seed of it                       -> `fold_run`
    pseudo    one set of soft labels                        -> `pseudo_run`
    ensemble  one blend                                     -> `ensemble_run`

A run is found again by its key, so that a retried or resumed task goes on in the run it had, and
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
from ranzcr.tracking import outbox, provenance, runs, server, settings, settling
from ranzcr.tracking.runs import Run
from ranzcr.tracking.settling import ROOT_KEY

_SINGLE = {"kind": "single", "stage": "evaluate"}
_OF_FOLD = ("fold", "seed", ROOT_KEY, runs.KEY, settling.ALIVE)
_SETTINGS = "experiment.yaml"  # artifact, of an experiment and of its folds
_DIGEST = 36  # characters that MLflow keeps of a data set's digest; the tag has it whole


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
    """The run of one fold, under the run of its experiment; FAILED if the block raises.

    Args:
        experiment: fully resolved.
        dataset_digest: of the prepared data set.
        fold: which fold is held out.
        labels: names, noted with the data set.
        dataset_path: where the data set lies, noted as its source.
        teachers: whose soft labels it learned from; the experiment's own list where empty.
        soft_labels: digest of those soft labels; other ones make another run.

    KFP's own MLflow plugin opens a run per task and names it in MLFLOW_RUN_ID: then that run is
    taken, named and tagged, and left to the plugin to end. It stays below the pipeline's run, where
    the plugin put it; the run of the experiment is made when its folds are evaluated.
    Raises TrackingError where MLflow does not answer at the start; from then on nothing stops it.
    """
    client, task_run = _connect()
    seed = experiment.training.seed
    root_key = _single_key(experiment, dataset_digest, soft_labels)
    shared = _experiment_tags(experiment, dataset_digest, teachers, soft_labels)
    own = {"kind": "fold", "stage": "train", "fold": str(fold), "seed": str(seed)}
    tags = {**shared, **own, ROOT_KEY: root_key}
    params = settings.of_experiment(experiment)
    key = runs.make_key(root_key, fold, seed)
    name = f"{experiment.name} fold {fold}"
    dataset = (dataset_digest, labels, dataset_path)
    if task_run is None:
        root = _note_root(client, root_key, experiment, shared, dataset)
        run = runs.find_or_create(client, key, name, tags, params, parent=root)
    else:
        run = runs.attach(client, task_run, key, name, tags, params)
    _note_dataset(run, *dataset)
    with runs.ending(run):
        yield run


@contextmanager
def single_run_of(fold_run_id: str) -> Iterator[Run]:
    """The run of the experiment that a fold run belongs to, for who has only its predictions.

    Raises TrackingError where the journal does not know the fold run.
    """
    client, _ = _connect()
    with server.translated(client.tracking_uri):
        fold = client.get_run(fold_run_id)
    tags, params = fold.data.tags, fold.data.params
    key = tags.get(ROOT_KEY)
    if key is None:
        raise TrackingError(
            f"run {fold_run_id} is no run of a fold; give predictions that ranzcr predict made"
        )
    shared = {name: tags[name] for name in tags if name not in _OF_FOLD and _told(name)}
    run = runs.find_or_create(client, key, tags["experiment"], {**shared, **_SINGLE}, params)
    _inherit(run, fold)
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
    """The run of one set of soft labels.

    Args:
        teachers: experiments whose predictions it is made of.
        teacher_runs: of each teacher its run, or that of one of its folds, for the lineage.
        digest: of the soft labels.
        counts: rows by split or source, written as metrics `rows/<name>`.
    """
    client, _ = _connect()
    name = f"soft labels of {'+'.join(teachers)}"
    tags = {
        **_common_tags("pseudo", "pseudo", name, dataset_digest),
        **{"teachers": ",".join(teachers), "digest": digest},
        **_lineage("teacher_runs", client, teacher_runs),
    }
    key = runs.make_key("pseudo", dataset_digest, digest)
    run = runs.find_or_create(client, key, name, tags, {})
    _note_dataset(run, dataset_digest)
    with runs.ending(run):
        run.log_metrics({f"rows/{what}": count for what, count in counts.items()})
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
    """The run of one blend.

    Args:
        weights: experiment -> weight, in the order of its members; they sum to 1.
        method: how the weights were found.
        digest: of the blend.
        member_runs: of each member its run, or that of one of its folds, for the lineage.

    Its name in the journal is its members joined by "+".
    """
    client, _ = _connect()
    name = "+".join(weights)
    tags = {
        **_common_tags("ensemble", "blend", name, dataset_digest),
        **{"members": ",".join(weights), "weights": json.dumps(dict(weights))},
        **{"method": method, "digest": digest},
        **_lineage("member_runs", client, member_runs),
    }
    key = runs.make_key("ensemble", dataset_digest, digest)
    run = runs.find_or_create(client, key, name, tags, {"cfg.method": method})
    _note_dataset(run, dataset_digest)
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
    return runs.make_key("single", experiment.config_hash, dataset_digest, soft_labels, code)


def _connect() -> tuple[MlflowClient, str | None]:
    """A client of the journal, which now has what earlier processes could not send.

    With the run that KFP's plugin opened for this task, None where there is none. Its variables go
    before mlflow sees them: it would rename that run, and write ours into the plugin's experiment.
    """
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
    task_run = os.environ.pop("MLFLOW_RUN_ID", None)
    client = server.connect()
    outbox.recover(client)
    return client, task_run


def _lineage(tag: str, client: MlflowClient, run_ids: Sequence[str]) -> dict[str, str]:
    """The tag with the journal's rows that runs belong to: their ids, or keys of rows to come."""
    rows = [_row_of(client, run_id) for run_id in run_ids]
    return {tag: ",".join(rows)} if rows else {}


def _row_of(client: MlflowClient, run_id: str) -> str:
    if not run_id:
        return ""
    with server.translated(client.tracking_uri), suppress(MlflowException):
        key = client.get_run(run_id).data.tags.get(ROOT_KEY)
        if key is None:
            return run_id
        found = runs.find(client, key)
        return found.info.run_id if found else key  # its row comes with the evaluation
    return ""


def _told(tag: str) -> bool:
    """Whether we wrote a tag, or MLflow by itself."""
    return tag == runs.NOTE or not tag.startswith("mlflow.")


def _inherit(run: Run, fold: MlflowRun) -> None:
    """Give the run of an experiment the data set and the settings of one of its folds."""
    for used in fold.inputs.dataset_inputs[:1] if fold.inputs else ():
        told = used.dataset
        source, profile = json.loads(told.source), json.loads(told.profile or "{}")
        run.log_dataset(told.name, told.digest, source["uri"], profile)
    with suppress(MlflowException, OSError):  # a fold that was cut off has no files yet
        where = f"{fold.info.artifact_uri}/{_SETTINGS}"
        run.log_text(load_text(where), _SETTINGS)


def _note_root(
    client: MlflowClient,
    key: runs.Key,
    experiment: Experiment,
    tags: Mapping[str, str],
    dataset: tuple[str, Sequence[str], Path | None],
) -> str:
    """The id of the run of an experiment, which ends with its folds, not with this process."""
    params = settings.of_experiment(experiment)
    root = runs.find_or_create(client, key, experiment.name, tags, params, ends=False)
    root.log_text(experiment.to_yaml(), _SETTINGS)
    _note_dataset(root, *dataset)
    root.close()
    return root.run_id


def _experiment_tags(
    experiment: Experiment, dataset_digest: str, teachers: Sequence[str], soft_labels: str
) -> dict[str, str]:
    """What the run of an experiment and the runs of its folds have in common."""
    own = {
        "teachers": ",".join(teachers or experiment.teachers),
        "soft_labels": soft_labels,
        "parent": experiment.parent or "",
        runs.NOTE: experiment.about,
    }
    common = _common_tags(**_SINGLE, name=experiment.name, dataset_digest=dataset_digest)
    return {**common, **{name: value for name, value in own.items() if value}}


def _common_tags(kind: str, stage: str, name: str, dataset_digest: str) -> dict[str, str]:
    told = {"kind": kind, "stage": stage, "experiment": name, "dataset_digest": dataset_digest}
    return {**provenance.tags(), **told}


def _note_dataset(
    run: Run, digest: str, labels: Sequence[str] = (), path: Path | None = None
) -> None:
    source = path.resolve().as_uri() if path else None
    profile = {"labels": list(labels), "digest": digest}
    run.log_dataset("ranzcr", digest[:_DIGEST], source, profile)
