"""The offline bundle: a folder that makes submission.csv without ranzcr and without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from ranzcr import competitions
from ranzcr.documents import Ensemble
from ranzcr.errors import DataError
from ranzcr.files import hash_file, write_json
from ranzcr.labels import UID
from ranzcr.predictions import Predictions
from ranzcr.submission import kernel

KERNEL, MANIFEST = "kernel.py", "MANIFEST.json"
_NEEDS = ("numpy", "onnxruntime", "opencv-python-headless")

_README = """\
# Offline bundle

Predicts {labels} of chest X-rays with {models} ONNX models of {members} experiments.
It needs Python with the packages of requirements.txt, and no network.

    python kernel.py --images DIR --sample sample_submission.csv --output submission.csv

On Kaggle, add this folder as a data set to a notebook of {competition}
and run `python /kaggle/input/<name>/kernel.py`: without arguments it reads the competition's own
folders. A study whose image cannot be read gets the prevalences of training; the last line says how
many there were.

MANIFEST.json has the SHA-256 of every file. Data set {dataset}, blend {blend}.
"""


def write(folder: Path, ensemble: Path) -> dict[str, str]:
    """Write the bundle of an ensemble folder to `folder`, which must not exist.

    Args:
        ensemble: output of export.

    Returns the manifest: file -> SHA-256. Raises DataError if the ensemble is incomplete.
    """
    description = Ensemble.read(ensemble)
    models = [model for member in description.members for model in member.models]
    for model in models:
        if not (ensemble / model).is_file():
            raise DataError(f"{ensemble / model}: the model is missing; export the blend again")
        (folder / model).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ensemble / model, folder / model)
    shutil.copyfile(kernel.__file__, folder / KERNEL)
    shutil.copyfile(ensemble / Ensemble.FILE, folder / Ensemble.FILE)
    pins = [f"{name}=={metadata.version(name)}" for name in _NEEDS]
    (folder / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(description, len(models)), encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {path.relative_to(folder).as_posix(): hash_file(path) for path in files}
    write_json(folder / MANIFEST, manifest)
    return manifest


def run(bundle: Path, images: Path, sample_csv: Path, output: Path) -> None:
    """Run the bundle's kernel in another process and copy its output to stderr.

    Raises DataError with the kernel's last line if it fails.
    """
    command = [sys.executable, str(bundle / KERNEL)]
    command += ["--images", str(images), "--sample", str(sample_csv), "--output", str(output)]
    last = ""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = line.strip() or last
            print(line, end="", file=sys.stderr, flush=True)
    if process.returncode:
        raise DataError(f"{bundle / KERNEL}: failed with {process.returncode}: {last}")


def difference(submission_csv: Path, expected: Predictions) -> float:
    """Return the largest difference of a probability on the common studies; 0 if there are none."""
    submitted = competitions.current().read_csv(submission_csv).set_index(UID)
    common = submitted.index.intersection(pd.Index(expected.uids))
    values = submitted.loc[common, list(expected.schema.names)].to_numpy(np.float64)
    return float(np.abs(values - expected.aligned(common.to_numpy()).values).max(initial=0))


def _readme(description: Ensemble, models: int) -> str:
    return _README.format(
        competition=competitions.current().slug or "the competition",
        labels=", ".join(description.labels),
        models=models,
        members=len(description.members),
        dataset=(description.dataset_digest or "unknown")[:12],
        blend=(description.blend_digest or "unknown")[:12],
    )
