"""The checkpoint folder of one trained fold: weights, experiment and metrics; nothing pickled."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.torch

from ranzcr import config
from ranzcr.config import Experiment
from ranzcr.documents import CheckpointMetrics
from ranzcr.errors import DataError
from ranzcr.files import hash_file, hash_json
from ranzcr.labels import LabelSchema
from ranzcr.models.network import Network

WEIGHTS, EXPERIMENT = "model.safetensors", "experiment.yaml"
EXAMPLES = "examples.npy"  # a few held-out images, (n, S, S) uint8, to check an export on


class Loaded(NamedTuple):
    """A network in evaluation mode with its description."""

    network: Network
    experiment: Experiment
    schema: LabelSchema
    metrics: CheckpointMetrics


def save(
    network: Network,
    experiment: Experiment,
    metrics: CheckpointMetrics,
    examples: np.ndarray,
    folder: Path,
) -> None:
    """Write the checkpoint folder.

    Args:
        examples: a few images, (n, S, S) uint8, at the network's size.
        folder: beside the final one (`ranzcr.files.replacing`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(weights, folder / WEIGHTS)
    (folder / EXPERIMENT).write_text(experiment.to_yaml(), encoding="utf-8")
    np.save(folder / EXAMPLES, examples)
    metrics.write(folder)


def load(folder: Path) -> Loaded:
    """Read a checkpoint folder. Raises DataError if it is incomplete or damaged."""
    metrics, experiment = CheckpointMetrics.read(folder), read_experiment(folder)
    schema = LabelSchema(metrics.labels)
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
    return Loaded(network.eval(), experiment, schema, metrics)


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
            CheckpointMetrics.read(folder).dataset_digest,
        ]
    )
