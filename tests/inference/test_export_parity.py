import numpy as np
import onnx
import pytest
import torch

from ranzcr.competitions import PHANTOM_LABELS
from ranzcr.config import ModelConfig
from ranzcr.errors import RanzcrError
from ranzcr.inference import export
from ranzcr.inference.predict import predict
from ranzcr.models.network import Network

pytestmark = pytest.mark.slow

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)


def _network(**model):
    torch.manual_seed(0)
    return Network(ModelConfig(**{"backbone": "test_resnet", **model}), PHANTOM_LABELS).eval()


@pytest.mark.parametrize(
    "model",
    [
        {"head": "gem", "spatial_attention": True},
        {"head": "attention", "in_channels": 3},
        {"head": "concat", "mask_decoder": True},
        {"backbone": "test_efficientnet", "head": "gmp"},
        {"backbone": "mobilenetv3_small_050"},
    ],
    ids=lambda model: "-".join(map(str, model.values())),
)
def test_onnx_gives_what_torch_gives_for_any_batch(tmp_path, model):
    network = _network(**model)
    export.export(network, tmp_path / "model.onnx", image_size=64)
    for count in (1, 5):
        assert export.parity(network, tmp_path / "model.onnx", IMAGES[:count]) < export.LIMIT


def test_the_file_is_complete_and_names_its_input_and_output(tmp_path, capfd):
    export.export(_network(), tmp_path / "model.onnx", image_size=64)
    graph = onnx.load(tmp_path / "model.onnx").graph
    (image,), (probability,) = graph.input, graph.output
    assert [image.name, probability.name] == ["image", "probability"]
    sizes = [size.dim_param or size.dim_value for size in image.type.tensor_type.shape.dim]
    assert sizes == ["batch", 1, 64, 64]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert capfd.readouterr() == ("", "")


def test_a_model_that_differs_is_refused(tmp_path):
    network = _network()
    export.export(network, tmp_path / "model.onnx", image_size=64)
    network.head.linear.bias.data += 0.01
    with pytest.raises(RanzcrError, match=r"model.onnx: its probabilities differ from torch's by"):
        export.parity(network, tmp_path / "model.onnx", IMAGES)


def test_flip_averages_an_image_and_its_mirror_image():
    network = _network()
    both, mirrored_both, plain, mirrored = (
        predict(network, images, np.arange(5), image_size=64, tta=tta)
        for tta in ("flip", "none")
        for images in (IMAGES, IMAGES[..., ::-1])
    )
    assert np.allclose(both, mirrored_both, atol=1e-6)
    assert np.allclose(both, (plain + mirrored) / 2)
    assert not np.allclose(both, plain, atol=1e-6)


def test_predictions_do_not_depend_on_the_batches(monkeypatch):
    network = _network()
    whole = predict(network, IMAGES, np.arange(5), image_size=48)
    monkeypatch.setattr("ranzcr.inference.predict._BATCH_PIXELS", 2 * 48 * 48)
    assert np.allclose(predict(network, IMAGES, np.arange(5), image_size=48), whole, atol=1e-6)
    assert np.allclose(predict(network, IMAGES, [3], image_size=48), whole[3:4], atol=1e-6)


def test_no_rows_give_no_predictions():
    assert predict(_network(), IMAGES, [], image_size=64).shape == (0, 11)
