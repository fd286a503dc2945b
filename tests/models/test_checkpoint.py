import numpy as np
import pytest
import torch

from ranzcr.competitions import PHANTOM_LABELS
from ranzcr.config import Experiment, ModelConfig
from ranzcr.documents import CheckpointMetrics
from ranzcr.errors import DataError
from ranzcr.models import checkpoint
from ranzcr.models.network import Network

EXPERIMENT = Experiment(name="tiny", model=ModelConfig(backbone="test_resnet", pretrained=True))
METRICS = CheckpointMetrics(
    experiment="tiny",
    fold=1,
    labels=PHANTOM_LABELS.names,
    dataset_digest="d" * 64,
    image_size=64,
    cache_size=64,
    prevalence=(0.5,) * len(PHANTOM_LABELS),
)
EXAMPLES = np.zeros((1, 64, 64), np.uint8)


@pytest.fixture
def saved(tmp_path):
    network = Network(
        EXPERIMENT.model.model_copy(update={"pretrained": False}), PHANTOM_LABELS
    ).eval()
    folder = tmp_path / "checkpoint"
    checkpoint.save(
        network.to(memory_format=torch.channels_last), EXPERIMENT, METRICS, EXAMPLES, folder
    )
    return network, folder


def test_a_loaded_network_predicts_what_the_saved_one_did_without_the_hub(saved):
    network, folder = saved
    loaded = checkpoint.load(folder)
    images = torch.rand(2, 1, 64, 64) * 255
    assert torch.allclose(loaded.network(images), network(images), atol=1e-6)
    assert loaded.experiment == EXPERIMENT
    assert loaded.schema == PHANTOM_LABELS


def test_the_digest_changes_with_the_weights_and_the_data(saved):
    network, folder = saved
    before = checkpoint.digest(folder)
    assert checkpoint.digest(folder) == before
    METRICS.model_copy(update={"dataset_digest": "e" * 64}).write(folder)
    after_data = checkpoint.digest(folder)
    network.head.linear.bias.data += 1
    checkpoint.save(network, EXPERIMENT, METRICS, EXAMPLES, folder)
    assert len({before, after_data, checkpoint.digest(folder)}) == 3


def test_a_damaged_checkpoint_says_so(saved):
    _, folder = saved
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DataError, match=r"model.safetensors: cannot be loaded into test_resnet"):
        checkpoint.load(folder)


def test_a_folder_that_is_no_checkpoint_says_so(tmp_path):
    with pytest.raises(
        DataError, match=r"metrics.json: missing or damaged; make it with ranzcr train"
    ):
        checkpoint.load(tmp_path)
