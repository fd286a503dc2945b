"""The offline bundle: a folder that makes a submission.csv without ranzcr and without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranzcr.errors import DataError
from ranzcr.files import hash_file, write_json
from ranzcr.labels import UID
from ranzcr.predictions import Predictions
from ranzcr.submission import kernel

KERNEL, ENSEMBLE, MANIFEST = "kernel.py", "ensemble.json", "MANIFEST.json"
_NEEDS = ("numpy", "onnxruntime", "opencv-python-headless")

_README = """\
# Offline bundle

Predicts {labels} of chest X-rays with {models} ONNX models of {members} experiments.
It needs Python with the packages of requirements.txt, and no network.

    python kernel.py --images DIR --sample sample_submission.csv --output submission.csv

On Kaggle, add this folder as a data set and run `python /kaggle/input/<name>/kernel.py`: without
arguments it reads the competition's own folders. A study whose image cannot be read gets the
prevalences of training; the last line says how many there were.

MANIFEST.json has the SHA-256 of every file. Data set {dataset}, blend {blend}.
"""


def write(folder: Path, ensemble: Path) -> dict[str, str]:
    """Write the bundle of an ensemble folder to `folder`, which must not exist.

    Args:
        ensemble: output of export.

    Returns the manifest: file -> SHA-256. Raises DataError where the ensemble is incomplete.
    """
    described = read_ensemble(ensemble)
    models = [model for member in described["members"] for model in member["models"]]
    for model in models:
        if not (ensemble / model).is_file():
            raise DataError(f"{ensemble / model}: the model is missing; export the blend again")
        (folder / model).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ensemble / model, folder / model)
    shutil.copyfile(kernel.__file__, folder / KERNEL)
    shutil.copyfile(ensemble / ENSEMBLE, folder / ENSEMBLE)
    pins = [f"{name}=={metadata.version(name)}" for name in _NEEDS]
    (folder / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(described, len(models)), encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {path.relative_to(folder).as_posix(): hash_file(path) for path in files}
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_ensemble(folder: Path) -> dict[str, Any]:
    """ensemble.json of an ensemble folder. Raises DataError where there is none."""
    path = folder / ENSEMBLE
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        described["labels"], described["members"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{path}: no readable ensemble; make it with ranzcr export") from None
    return described


def run(bundle: Path, images: Path, sample_csv: Path, output: Path) -> None:
    """Run the bundle's kernel in a process of its own; its lines go to stderr.

    Raises DataError with the kernel's last line where it fails.
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
    """Largest |difference| of a probability on the studies that both have; 0 where none is."""
    found = pd.read_csv(submission_csv, dtype={UID: str}).set_index(UID)
    common = found.index.intersection(pd.Index(expected.uids))
    values = found.loc[common, list(expected.schema.names)].to_numpy(np.float64)
    return float(np.abs(values - expected.aligned(common.to_numpy()).values).max(initial=0))


def _readme(described: Mapping[str, Any], models: int) -> str:
    return _README.format(
        labels=", ".join(described["labels"]),
        models=models,
        members=len(described["members"]),
        dataset=str(described.get("dataset_digest", ""))[:12] or "unknown",
        blend=str(described.get("blend_digest", ""))[:12] or "unknown",
    )
