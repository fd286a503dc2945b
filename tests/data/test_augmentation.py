from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from tiny import noise

from ranzcr.data import augmentation
from ranzcr.errors import ConfigError

RECIPES = ("none", "warp", "seed1", "seed2")


def grey(size: int = 96) -> np.ndarray:
    return noise(0, size, size)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [48, 96, 120])
def test_every_recipe_returns_the_size_that_is_asked_for(recipe, size):
    masks = (np.stack([grey(), 255 - grey()]) > 128).astype(np.uint8)
    colour = cv2.cvtColor(grey(), cv2.COLOR_GRAY2RGB)
    augment = augmentation.make(recipe, size)
    for seed in range(8):
        images, changed = augment((grey(), colour), masks, np.random.default_rng(seed))
        assert [image.shape for image in images] == [(size, size), (size, size, 3)]
        assert all(image.dtype == np.uint8 for image in images)
        assert changed.shape == (2, size, size)
        assert set(np.unique(changed)) <= {0, 1}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_same_generator_gives_the_same_image(recipe):
    augment = augmentation.make(recipe, 64)
    for seed in range(8):
        (first,), _ = augment((grey(),), None, np.random.default_rng(seed))
        (again,), _ = augment((grey(),), None, np.random.default_rng(seed))
        (elsewhere,), _ = augmentation.make(recipe, 64)(
            (grey(),), None, np.random.default_rng(seed)
        )
        assert (first == again).all()
        assert (first == elsewhere).all()


@pytest.mark.parametrize("recipe", RECIPES[1:])
def test_other_draws_give_other_images(recipe):
    augment = augmentation.make(recipe, 64)
    rng = np.random.default_rng(0)
    seen = {augment((grey(),), None, rng)[0][0].tobytes() for _ in range(10)}
    assert len(seen) == 10


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_pair_keeps_the_same_geometry_and_photometry(recipe):
    augment = augmentation.make(recipe, 64)
    colour = cv2.cvtColor(grey(), cv2.COLOR_GRAY2RGB)
    for seed in range(20):
        (plain, drawn), _ = augment((colour, colour), None, np.random.default_rng(seed))
        assert (plain == drawn).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_masks_follow_the_image(recipe):
    image = np.zeros((96, 96), np.uint8)
    image[20:60, 30:50] = 255
    augment = augmentation.make(recipe, 96)
    overlaps = []
    for seed in range(10):
        (changed,), masks = augment((image,), (image[None] > 0).astype(np.uint8), _rng(seed))
        bright = changed > (int(changed.max()) + int(changed.min())) / 2
        overlaps.append((bright & (masks[0] == 1)).sum() / (bright | (masks[0] == 1)).sum())
    assert np.median(overlaps) > 0.9


def test_flips_and_turns_are_drawn_independently_of_each_other():
    """albumentations' set_random_seed gives each transform one and the same seed."""
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 200
    augment = augmentation.make("seed2", 64)
    flipped, turned = [], []
    for seed in range(80):
        _, masks = augment((half,), (half[None] > 0).astype(np.uint8), _rng(seed))
        flipped.append(masks[0][:, 48:].mean() < 0.5)
        turned.append(len(np.unique(masks[0], axis=0)) > 12)
    both = np.mean(np.array(flipped) & np.array(turned))
    assert 0.2 < np.mean(flipped) < 0.8
    assert 0 < both < min(np.mean(flipped), np.mean(turned))


def test_the_library_s_blur_does_not_black_an_image_out():
    augment = augmentation.make("seed2", 64)
    assert all(augment((grey(),), None, _rng(seed))[0][0].max() > 30 for seed in range(60))


def test_a_warp_without_shift_or_turn_keeps_the_middle_in_place():
    matrix = next(
        matrix
        for matrix in (augmentation._draw_matrix(64, 64, _rng(seed)) for seed in range(50))
        if matrix[0, 1] == 0
    )
    assert 1 <= abs(matrix[0, 0]) < 1.3
    corners = matrix @ np.array([[0, 63], [0, 63], [1, 1]])
    assert corners.min() <= 0  # a crop covers the whole output
    assert corners.max() >= 63


def test_a_recipe_can_be_sent_to_another_process():
    for recipe in RECIPES:
        again = pickle.loads(pickle.dumps(augmentation.make(recipe, 32)))
        assert again((grey(),), None, _rng(0))[0][0].shape == (32, 32)


def test_an_unknown_recipe_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no augmentation 'seed3'; did you mean seed[12]\?"):
        augmentation.make("seed3", 32)


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
