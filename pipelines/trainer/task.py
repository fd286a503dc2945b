"""A train task over several nodes: share its inputs, wait, copy the checkpoint."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kfp.dsl import TaskConfig
from kubeflow.common.utils import get_default_target_namespace

from pipelines import kube
from pipelines.trainer import manifest, settings
from pipelines.trainer.job import TrainingFailed, TrainJob
from ranzcr.config import Experiment
from ranzcr.errors import PipelineError
from ranzcr.files import hash_json, replacing
from ranzcr.home import home


def run(
    experiment: Experiment,
    dataset: Path,
    out: Path,
    *,
    fold: int,
    dataset_digest: str,
    soft_labels: Path | None,
    soft_digest: str,
    devices: int,
    task: TaskConfig,
) -> str:
    """Train on every fold but `fold` and write the checkpoint folder `out`; returns its digest.

    Args:
        dataset, soft_labels: on the disk of this pod; copied to the shared home once.
        devices: GPUs of each node.
        task: settings that KFP passed through.

    Raises ConfigError, ClusterError or PipelineError if the user can fix the cause; else exits with
    the code of the node that failed, or with 143 on SIGTERM. The job is always deleted.
    """
    name = "train-" + hash_json([experiment.config_hash, dataset_digest, fold, soft_digest])[:16]
    owner = manifest.Owner(os.environ["KFP_POD_NAME"], os.environ["KFP_POD_UID"])
    folder = home() / "trainjobs" / owner.uid
    try:
        with _stopped_by_sigterm():
            arguments = [
                *("--data", _share(dataset, "datasets", dataset_digest), "--fold", fold),
                *("--resume", home() / "resume", "--devices", devices),
            ]
            if soft_labels is not None:
                arguments += ["--soft-labels", _share(soft_labels, "soft-labels", soft_digest)]
            command = _command(folder, experiment, arguments)
            job = manifest.build(name, settings.read(), devices, task, command, home(), owner)
            _train(TrainJob(kube.connect(), get_default_target_namespace(), job, folder / "alive"))
            return _take(folder / "checkpoint", out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _share(source: Path, kind: str, digest: str) -> Path:
    """Copy a folder to the shared volume once, named by the digest of its content."""
    target = home() / kind / digest
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".copy-", dir=target.parent) as beside:
        copy = shutil.copytree(source, Path(beside) / "copy")
        try:
            copy.rename(target)
        except OSError:
            if not target.is_dir():  # else another task of the same loop was first
                raise
    return target


def _command(folder: Path, experiment: Experiment, arguments: Sequence[object]) -> list[str]:
    """Return the command of each node; Trainer passes the other nodes in PET_ variables."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.yaml").write_text(experiment.to_yaml(), encoding="utf-8")
    node = ["python3", "-m", "pipelines.trainer.node", folder / "alive"]
    train = ["torchrun", "-m", "ranzcr.cli", "train", folder / "experiment.yaml"]
    return [str(word) for word in (*node, *train, *arguments, "-o", folder / "checkpoint")]


def _train(job: TrainJob) -> None:
    """Run the job to its end. Raises SystemExit with the exit code of a node that failed."""
    try:
        job.start()
        job.wait()
    except TrainingFailed as failed:
        print(f"train: {failed}", file=sys.stderr)
        raise SystemExit(failed.code) from None
    finally:
        job.delete()


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block by SystemExit; a second one does not interrupt the cleanup."""

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _take(trained: Path, out: Path) -> str:
    """Copy the checkpoint to the folder that KFP uploads."""
    if not trained.is_dir():
        raise PipelineError(f"{trained}: not there after the training; is the volume one for all?")
    from ranzcr.models import checkpoint

    with replacing(out) as beside:
        shutil.copytree(trained, beside)
    return checkpoint.digest(out)
