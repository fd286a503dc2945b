import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranzcr.config import ModelConfig, Phase, TrainingConfig
from ranzcr.labels import LabelSchema
from ranzcr.models.network import Network
from ranzcr.training import losses, optim


def test_soft_labels_are_learned_as_probabilities():
    logits, targets = torch.zeros(1, 1), torch.full((1, 1), 0.3)
    assert losses.label_loss(logits, targets).item() == pytest.approx(math.log(2))
    best = torch.tensor([[math.log(0.3 / 0.7)]])
    assert losses.label_loss(best, targets) < losses.label_loss(logits, targets)


def test_distillation_is_half_the_mean_squared_difference():
    assert losses.distillation_loss(torch.ones(1, 2, 3, 3), torch.full((1, 2, 3, 3), 3.0)) == 2


def test_masks_count_on_annotated_rows_only():
    logits, masks = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    logits[1] = 100  # far off, but not annotated
    loss = losses.mask_loss(logits, masks, torch.tensor([True, False]))
    assert loss.item() == pytest.approx(math.log(2))
    assert losses.mask_loss(logits, masks, torch.tensor([False, False])) == 0


@given(st.floats(0, 1), st.floats(0.3, 3))
def test_sharpening_never_crosses_one_half(soft, temperature):
    sharp = float(losses.sharpen(np.array([soft]), temperature)[0])
    assert 0 <= sharp <= 1
    assert (sharp <= 0.5) if soft < 0.5 else (sharp >= 0.5)


def test_sharpening_follows_the_recipe():
    found = losses.sharpen(np.array([0.1, 0.45, 0.9]), 0.8)
    assert found == pytest.approx([0.1**0.8, 0.5, 1 - 0.1**0.8])


def test_the_learning_rate_warms_up_then_falls_to_its_end():
    phase = Phase(name="p", epochs=10, lr=1e-2, lr_end=1e-4, warmup_epochs=2)
    factors = [optim.factor_at(step, phase, steps_per_epoch=5) for step in range(51)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[10] == 1
    assert factors == [*sorted(factors[:10]), *sorted(factors[10:], reverse=True)]
    assert factors[50] == pytest.approx(0.01)


def test_a_constant_schedule_stays():
    phase = Phase(name="p", epochs=3, schedule="constant")
    assert {optim.factor_at(step, phase, steps_per_epoch=4) for step in range(12)} == {1.0}


def test_learning_rates_scale_with_the_batch():
    assert optim.learning_rate_scale(TrainingConfig(lr_batch=16), 64) == 4
    assert optim.learning_rate_scale(TrainingConfig(), 64) == 1


def test_adaptive_clipping_bounds_each_units_gradient_but_the_heads():
    network = Network(ModelConfig(backbone="test_efficientnet"), LabelSchema(("tube",)))
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 10.0)
    optim.clip_adaptively(network, 0.01)
    weight = network.backbone.encoder.conv_stem.weight
    norms = weight.flatten(1).norm(dim=1).clamp(min=1e-3)
    assert (weight.grad.flatten(1).norm(dim=1) <= 0.01 * norms * 1.001).all()
    assert (network.head.linear.weight.grad == 10).all()
