import pytest
import safetensors.torch
import torch

from ranzcr import config
from ranzcr.competitions import PHANTOM_LABELS
from ranzcr.config import ModelConfig
from ranzcr.errors import ConfigError
from ranzcr.labels import LabelSchema
from ranzcr.models import heads
from ranzcr.models.network import Network

TINY = {"backbone": "test_resnet"}
IMAGES = torch.randint(0, 256, (2, 1, 64, 64), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head", ["gap", "gmp", "gem", "concat", "attention"])
def test_every_head_gives_a_logit_per_label_and_a_gradient_to_all_weights(head):
    network = Network(ModelConfig(**TINY, head=head, spatial_attention=True), PHANTOM_LABELS)
    logits = network(IMAGES)
    assert logits.shape == (2, 11)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("head", ["gap", "attention"])
def test_one_label_is_enough(head):
    network = Network(ModelConfig(**TINY, head=head), LabelSchema(("tube",)))
    assert network(IMAGES).shape == (2, 1)


def test_attention_logits_follow_the_label_order_however_families_are_mixed():
    schema = LabelSchema(("CVC - Normal", "ETT - Normal", "CVC - Abnormal"))
    head = heads.FamilyAttentionHead(8, schema.families.values(), dropout=0).eval()
    for family, part in enumerate(head.heads):
        last = part[-1]
        torch.nn.init.zeros_(last.weight)
        last.bias.data = torch.arange(len(last.bias)).float() + 10 * family
    assert head(torch.rand(1, 8, 2, 2)).tolist() == [[0.0, 10.0, 1.0]]


def test_gem_lies_between_average_and_maximum_and_learns_its_power():
    features = torch.rand(2, 4, 3, 3)
    pool = heads.GeMPool()
    pooled = pool(features)
    assert (pooled >= features.mean((2, 3))).all()
    assert (pooled <= features.amax((2, 3))).all()
    pooled.sum().backward()
    assert pool.p.item() == 3
    assert pool.p.grad.abs() > 0


def test_grey_levels_are_normalised_inside_the_network():
    normalise = Network(ModelConfig(**TINY, in_channels=3), PHANTOM_LABELS).normalise
    grey = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    assert normalise(grey).flatten(1).tolist() == [[-2] * 3, [2] * 3]


def test_uint8_and_float_images_give_the_same_logits():
    network = Network(ModelConfig(**TINY), PHANTOM_LABELS).eval()
    assert torch.equal(network(IMAGES.byte()), network(IMAGES.float()))


def test_colour_needs_three_channels():
    network = Network(ModelConfig(**TINY), PHANTOM_LABELS)
    with pytest.raises(ValueError, match=r"expected \(B, 1, S, S\); set model.in_channels=3"):
        network(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "mobilenetv3_small_050"])
def test_the_decoder_gives_a_mask_per_family_at_the_finest_scale(backbone):
    network = Network(ModelConfig(backbone=backbone, mask_decoder=True), PHANTOM_LABELS).eval()
    outputs = network.outputs(IMAGES)
    assert outputs.masks_BFHW.shape == (2, 4, 32, 32)
    assert torch.allclose(outputs.logits_BL, network(IMAGES), atol=1e-6)


@pytest.mark.parametrize("name", config.names())
def test_every_packaged_experiment_builds(name):
    model = config.load(name).model.model_copy(update={"pretrained": False})
    with torch.device("meta"):
        network = Network(model, PHANTOM_LABELS)
    assert sum(weight.numel() for weight in network.parameters()) > 0


def test_an_unknown_backbone_names_the_nearest():
    with pytest.raises(ConfigError, match="no 'resnet18dd'; did you mean resnet18d"):
        Network(ModelConfig(backbone="resnet18dd"), PHANTOM_LABELS)


def test_a_backbone_without_a_feature_map_is_refused():
    network = Network(ModelConfig(backbone="test_vit"), PHANTOM_LABELS)
    with pytest.raises(ConfigError, match=r"test_vit: gives .* choose a convolutional model"):
        network(torch.zeros(1, 1, 160, 160))


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_pretrained_weights_come_from_a_file(tmp_path, suffix):
    source = Network(ModelConfig(**TINY, in_channels=3), PHANTOM_LABELS).backbone.encoder
    weights = source.state_dict() | {
        "fc.weight": torch.zeros(1000, 96),
        "fc.bias": torch.zeros(1000),
    }
    path = tmp_path / f"weights.{suffix}"
    safetensors.torch.save_file(weights, path) if suffix == "safetensors" else torch.save(
        weights, path
    )
    loaded = Network(ModelConfig(**TINY, pretrained=True, weights=str(path)), PHANTOM_LABELS)
    own = loaded.backbone.encoder.state_dict()
    assert torch.equal(own["layer1.0.conv1.weight"], weights["layer1.0.conv1.weight"])
    assert torch.allclose(own["conv1.0.weight"], weights["conv1.0.weight"].sum(1, keepdim=True))


def test_weights_of_another_backbone_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"conv1.0.weight": torch.zeros(1)}, path)
    with pytest.raises(
        ConfigError, match=r"not the weights of test_resnet: \d+ missing, 0 unknown"
    ):
        Network(ModelConfig(**TINY, pretrained=True, weights=str(path)), PHANTOM_LABELS)


def test_a_pickle_is_never_run(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"weights": config.Experiment}, path)
    with pytest.raises(ConfigError, match="holds more than tensors"):
        Network(ModelConfig(**TINY, pretrained=True, weights=str(path)), PHANTOM_LABELS)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"model.weights: no file .*none.pth"):
        Network(
            ModelConfig(**TINY, pretrained=True, weights=str(tmp_path / "none.pth")), PHANTOM_LABELS
        )
