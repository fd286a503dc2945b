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
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException

from ranzcr.config import Experiment
from ranzcr.errors import TrackingError
from ranzcr.tracking import provenance, runs, server
from ranzcr.tracking.runs import Run

_SINGLE = {"kind": "single", "stage": "evaluate"}
_OF_FOLD = ("fold", "seed", "root_key", runs.KEY)
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
    taken, named and tagged, and left to the plugin to end.
    Raises TrackingError where MLflow does not answer at the start or at the end.
    """
    task_run = os.environ.pop("MLFLOW_RUN_ID", None)  # before mlflow sees and renames it
    client = server.connect()
    seed = experiment.training.seed
    root_key = _single_key(experiment, dataset_digest, soft_labels)
    shared = _experiment_tags(experiment, dataset_digest, teachers, soft_labels)
    own = {"kind": "fold", "stage": "train", "fold": str(fold), "seed": str(seed)}
    tags = {**shared, **own, "root_key": root_key}
    params = _params(experiment)
    key = runs.make_key(root_key, fold, seed)
    name = f"{experiment.name} fold {fold}"
    if task_run is not None:
        root = None
        run = _attach(client, task_run, key, name, tags, params)
    else:
        root = runs.find_or_create(client, root_key, experiment.name, shared, params)
        run = runs.find_or_create(client, key, name, tags, params, parent=root.run_id)
        root.log_text(experiment.to_yaml(), "experiment.yaml")
        _note_dataset(root, dataset_digest, labels, dataset_path)
    _note_dataset(run, dataset_digest, labels, dataset_path)
    with _settling(root), runs.ending(run):
        yield run


@contextmanager
def single_run_of(fold_run_id: str) -> Iterator[Run]:
    """The run of the experiment that a fold run belongs to, for who has only its predictions.

    Raises TrackingError where the journal does not know the fold run.
    """
    client = server.connect()
    with server.translated(client.tracking_uri):
        fold = client.get_run(fold_run_id).data
    key = fold.tags.get("root_key")
    if key is None:
        raise TrackingError(
            f"run {fold_run_id} is no run of a fold; give predictions that ranzcr predict made"
        )
    tags = {name: value for name, value in fold.tags.items() if name not in _OF_FOLD}
    told = {name: value for name, value in tags.items() if not name.startswith("mlflow.")}
    run = runs.find_or_create(
        client, key, fold.tags["experiment"], {**told, **_SINGLE}, fold.params
    )
    with runs.ending(run):
        yield run


@contextmanager
def pseudo_run(
    *, teachers: Sequence[str], dataset_digest: str, digest: str, counts: Mapping[str, int]
) -> Iterator[Run]:
    """The run of one set of soft labels.

    Args:
        teachers: experiments whose predictions it is made of.
        digest: of the soft labels.
        counts: rows by split or source, written as metrics `rows/<name>`.
    """
    name = f"soft labels of {'+'.join(teachers)}"
    tags = {
        **_common_tags("pseudo", "pseudo", name, dataset_digest),
        **{"teachers": ",".join(teachers), "digest": digest},
    }
    key = runs.make_key("pseudo", dataset_digest, digest, provenance.code_version())
    run = runs.find_or_create(server.connect(), key, name, tags, {})
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
) -> Iterator[Run]:
    """The run of one blend.

    Args:
        weights: experiment -> weight, in the order of its members; they sum to 1.
        method: how the weights were found.
        digest: of the blend.

    Its name in the journal is its members joined by "+".
    """
    name = "+".join(weights)
    tags = {
        **_common_tags("ensemble", "blend", name, dataset_digest),
        **{"members": ",".join(weights), "weights": json.dumps(dict(weights))},
        **{"method": method, "digest": digest},
    }
    key = runs.make_key("ensemble", dataset_digest, digest, provenance.code_version())
    run = runs.find_or_create(server.connect(), key, name, tags, {"cfg.method": method})
    _note_dataset(run, dataset_digest)
    with runs.ending(run):
        yield run


def _single_key(experiment: Experiment, dataset_digest: str, soft_labels: str) -> runs.Key:
    code = provenance.code_version()
    return runs.make_key("single", experiment.config_hash, dataset_digest, soft_labels, code)


def _attach(
    client: MlflowClient, run_id: str, key: runs.Key, name: str, tags: dict, params: dict
) -> Run:
    """Take the run that KFP's plugin opened for this task; its siblings have no names."""
    run = Run(client, run_id, ours=False)
    with server.translated(client.tracking_uri):
        client.update_run(run_id, name=name)
    run.write(params=params, tags={**tags, runs.KEY: key})
    return run


def _params(experiment: Experiment) -> dict[str, object]:
    """`cfg.<dotted.key>`: the prefix keeps them apart from the inputs that KFP's plugin logs."""
    settings = experiment.model_dump(mode="json", exclude={"about", "parent"})
    return {**runs.flatten(settings, "cfg"), "config_hash": experiment.config_hash}


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
    """log_input, without mlflow.data reading anything."""
    dataset = Dataset(
        name="ranzcr",
        digest=digest[:_DIGEST],
        source_type="local" if path else "code",
        source=json.dumps({"uri": path.resolve().as_uri() if path else "unknown"}),
        profile=json.dumps({"labels": list(labels), "digest": digest}),
    )
    used = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
    uri = run.client.tracking_uri
    with server.translated(uri), server.exclusive(uri):
        try:
            run.client.log_inputs(run.run_id, [used])
        except MlflowException as error:
            # Two folds that note the same data set at once: MLflow lets one of them fail.
            if not re.search("unique constraint|duplicate", str(error), re.IGNORECASE):
                raise
            run.client.log_inputs(run.run_id, [used])


@contextmanager
def _settling(root: Run | None) -> Iterator[None]:
    """Settle `root` at the end, without hiding an error of the block."""
    try:
        yield
    except BaseException:
        with suppress(TrackingError):
            _settle(root)
        raise
    _settle(root)


def _settle(root: Run | None) -> None:
    """Give the run of an experiment the state of its folds, their number and their GPU hours."""
    if root is None:
        return
    uri = root.client.tracking_uri
    # One at a time: the fold that ends last must also write last.
    with server.translated(uri), server.hurried(), server.exclusive(uri):
        children = root.client.search_runs(
            [server.experiment_id(root.client)], f"tags.`{runs.PARENT}` = '{root.run_id}'"
        )
        finished = {c.data.tags["fold"] for c in children if c.info.status == "FINISHED"}
        hours = [c.data.metrics["gpu_hours"] for c in children if "gpu_hours" in c.data.metrics]
        root.set_tags({"folds": str(len(finished))})
        root.log_metrics({"gpu_hours": sum(hours) if hours else None})
        states = {child.info.status for child in children}
        if "RUNNING" not in states:
            root.end("FINISHED" if states == {"FINISHED"} else "FAILED")
