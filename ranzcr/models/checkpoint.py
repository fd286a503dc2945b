"""The checkpoint folder of one trained fold: weights, experiment and metrics; nothing pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.torch

from ranzcr import config
from ranzcr.config import Experiment
from ranzcr.errors import DataError
from ranzcr.files import hash_file, hash_json
from ranzcr.labels import LabelSchema
from ranzcr.models.network import Network

WEIGHTS, EXPERIMENT, METRICS = "model.safetensors", "experiment.yaml", "metrics.json"
EXAMPLES = "examples.npy"  # a few held-out images, (n, S, S) uint8, to check an export on


class Loaded(NamedTuple):
    """A network in evaluation mode, and what it was trained as."""

    network: Network
    experiment: Experiment
    schema: LabelSchema


def save(
    network: Network,
    experiment: Experiment,
    metrics: Mapping[str, Any],
    examples: np.ndarray,
    folder: Path,
) -> None:
    """Write the checkpoint folder.

    Args:
        metrics: at least `labels`, `dataset_digest` and `fold`.
        examples: a few images, (n, S, S) uint8, at the network's size.
        folder: beside the final one (`ranzcr.files.replacing`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(weights, folder / WEIGHTS)
    (folder / EXPERIMENT).write_text(experiment.to_yaml(), encoding="utf-8")
    np.save(folder / EXAMPLES, examples)
    (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Loaded:
    """Read a checkpoint folder. Raises DataError where it is incomplete or damaged."""
    metrics, experiment = read_metrics(folder), read_experiment(folder)
    schema = LabelSchema(tuple(metrics["labels"]))
    offline = experiment.model.model_copy(update={"pretrained": False})  # its weights are here
    network = Network(offline, schema)
    path = folder / WEIGHTS
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        problem = str(error).strip().splitlines()[0]
        raise DataError(
            f"{path}: cannot be loaded into {experiment.model.backbone} ({problem}); train it again"
        ) from None
    return Loaded(network.eval(), experiment, schema)


def read_metrics(folder: Path) -> dict[str, Any]:
    """metrics.json of a checkpoint folder. Raises DataError where it is not one."""
    path = Path(folder) / METRICS
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if not {"labels", "dataset_digest", "fold"} <= metrics.keys():
            raise ValueError
    except FileNotFoundError:
        raise DataError(f"{folder}: no {METRICS}; expected a folder made by ranzcr train") from None
    except (ValueError, AttributeError):
        raise DataError(f"{path}: damaged; train it again") from None
    return metrics


def read_experiment(folder: Path) -> Experiment:
    """The resolved experiment of a checkpoint folder."""
    path = Path(folder) / EXPERIMENT
    if not path.is_file():
        raise DataError(f"{folder}: no {EXPERIMENT}; expected a folder made by ranzcr train")
    return config.load(path)


def digest(folder: Path) -> str:
    """Hash of what decides a model's predictions: weights, experiment and data set."""
    return hash_json(
        [
            hash_file(folder / WEIGHTS),
            read_experiment(folder).config_hash,
            read_metrics(folder)["dataset_digest"],
        ]
    )
