"""Augmentation recipes: what one training image becomes, drawn from a generator alone.

| recipe | what |
|---|---|
| none | resized |
| warp | crop, flip, scale, turn, shift as ONE warp of uint8; brightness and contrast by a table |
| seed1 | 22nd place's list, in albumentations |
| seed2 | the silver solution's list, in albumentations |

Left-right flips swap the sides of the body; both seeds use them nevertheless, and so do we.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ranzcr.extensions import AUGMENTATIONS

Images = tuple[np.ndarray, ...]
# (images, masks, rng) -> (images, masks). Images are uint8 (S, S) or (S, S, 3) and share geometry
# and photometry, as a plain / drawn pair must; masks are uint8 (F, S, S) of 0 and 1, or None.
Augment = Callable[
    [Images, np.ndarray | None, np.random.Generator], tuple[Images, np.ndarray | None]
]


def make(recipe: str, size: int) -> Augment:
    """The augmentation `recipe`; what it returns is `size` x `size`.

    The same images and the same state of the generator give the same outcome.
    """
    augment: Augment = AUGMENTATIONS.get(recipe)(size)
    return augment


@AUGMENTATIONS.register("none")
@dataclass(frozen=True)
class _Resize:
    size: int

    def __call__(
        self, images: Images, masks: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[Images, np.ndarray | None]:
        resized = tuple(_resize(image, self.size) for image in images)
        return resized, _each(masks, lambda mask: _resize(mask, self.size, cv2.INTER_NEAREST))


@AUGMENTATIONS.register("warp")
@dataclass(frozen=True)
class _Warp:
    """Seed 1's geometry and photometry at a fraction of the cost: one affine map, one table."""

    size: int

    def __call__(
        self, images: Images, masks: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[Images, np.ndarray | None]:
        # A warp takes one of several pixels where it shrinks; areas are averaged before it.
        smaller = images[0].shape[0] // max(1, images[0].shape[0] // self.size)
        matrix = _draw_matrix(smaller, self.size, rng)
        table = _draw_table(rng)

        def warp(image: np.ndarray, way: int) -> np.ndarray:
            if image.shape[0] != smaller:
                image = _resize(image, smaller)
            return cv2.warpAffine(image, matrix, (self.size, self.size), flags=way)

        warped = tuple(cv2.LUT(warp(image, cv2.INTER_LINEAR), table) for image in images)
        return warped, _each(masks, lambda mask: warp(mask, cv2.INTER_NEAREST))


def _draw_matrix(source: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """(2, 3) map from a `source` square to a `size` square.

    A crop of .8 to 1 of the area with a ratio of 3/4 to 4/3, flipped with p .5; and with p .2 a
    shift by up to .0625, a scale of .8 to 1.2 and a turn of up to 20 degrees about the middle.
    """
    share, ratio = rng.uniform(0.8, 1.0), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    crop = np.minimum(source * np.sqrt(share * np.array([ratio, 1 / ratio])), source)
    corner = rng.uniform(0, source - crop)
    flip = rng.random() < 0.5
    moved = rng.random() < 0.2
    shift, zoom, turn = rng.uniform(-0.0625, 0.0625, 2), rng.uniform(0.8, 1.2), rng.uniform(-20, 20)

    scale = size / crop
    to_crop = np.array([[scale[0], 0, -corner[0] * scale[0]], [0, scale[1], -corner[1] * scale[1]]])
    # Pixel centres, not corners, are whole numbers: without this a resize is half a pixel off.
    to_crop[:, 2] += scale / 2 - 0.5
    if flip:
        to_crop[0] = -to_crop[0]
        to_crop[0, 2] += size - 1
    if not moved:
        return to_crop
    middle = (size - 1) / 2
    about_middle = cv2.getRotationMatrix2D((middle, middle), turn, zoom)
    about_middle[:, 2] = about_middle[:, 2] + shift * size
    return np.asarray(about_middle @ np.vstack([to_crop, [0, 0, 1]]))


def _draw_table(rng: np.random.Generator) -> np.ndarray:
    """(256,) uint8: contrast x .8 to 1.2 and brightness +-.2 of white with p .2, else unchanged."""
    changed = rng.random() < 0.2
    contrast, brightness = rng.uniform(0.8, 1.2), rng.uniform(-0.2, 0.2)
    levels = np.arange(256, dtype=np.float32)
    if changed:
        levels = levels * contrast + 255 * brightness
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _resize(image: np.ndarray, size: int, way: int | None = None) -> np.ndarray:
    if way is None:
        way = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=way)


def _each(
    masks: np.ndarray | None, change: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray | None:
    return None if masks is None else np.stack([change(mask) for mask in masks])


class _Albumentations:
    """An albumentations list behind the same signature."""

    def __init__(self, transforms: Callable[[int], list[Any]], size: int) -> None:
        self.transforms, self.size = transforms, size
        self.compose = _library().Compose(transforms(size), additional_targets={"second": "image"})

    def __reduce__(self) -> tuple[Any, ...]:
        """Build the list again in a DataLoader's worker that is spawned, not forked."""
        return _Albumentations, (self.transforms, self.size)

    def __call__(
        self, images: Images, masks: np.ndarray | None, rng: np.random.Generator
    ) -> tuple[Images, np.ndarray | None]:
        # Not set_random_seed: it gives each transform a generator of its own with the same seed,
        # so that all with p .5 strike together. Here they share one stream.
        self.compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        names = ("image", "second")[: len(images)]
        targets = {
            name: cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
            for name, image in zip(names, images, strict=True)
        }
        if masks is not None:
            targets["masks"] = masks
        changed = self.compose(**targets)
        outcome = tuple(
            cv2.cvtColor(changed[name], cv2.COLOR_RGB2GRAY) if image.ndim == 2 else changed[name]
            for name, image in zip(names, images, strict=True)
        )
        return outcome, changed.get("masks")


def _library() -> Any:
    """albumentations, without the call to the network that it makes when imported."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    # It calls PiecewiseAffine slow, which `_piecewise_affine` fixes, and prefers other names.
    warnings.filterwarnings("ignore", module=r"albumentations\.")
    return albumentations


@AUGMENTATIONS.register("seed1")
def seed1(size: int) -> Augment:
    return _Albumentations(_seed1, size)


@AUGMENTATIONS.register("seed2")
def seed2(size: int) -> Augment:
    return _Albumentations(_seed2, size)


def _seed1(size: int) -> list[Any]:
    """22nd place: lRomul/ranzcr-clip. Its Cutout is CoarseDropout in albumentations 2."""
    A = _library()
    cubic = cv2.INTER_CUBIC

    def holes(count: int, pixels_at_1024: int) -> Any:
        side = max(1, round(pixels_at_1024 * size / 1024))
        return A.CoarseDropout((count, count), (side, side), (side, side), p=0.2)

    return [
        A.RandomResizedCrop((size, size), scale=(0.8, 1.0), interpolation=cubic),
        A.HorizontalFlip(p=0.5),
        A.RandomBrightnessContrast(0.2, 0.2, p=0.2),
        A.ShiftScaleRotate(0.0625, 0.2, 20, interpolation=cubic, p=0.2),
        holes(8, 8),
        holes(16, 16),
    ]


def _seed2(size: int) -> list[Any]:
    """The silver solution's list, its defaults spelled out as they were in albumentations 0.5.

    GaussNoise counted in grey levels squared; JpegCompression is ImageCompression now, and
    IAAPiecewiseAffine left: see `_piecewise_affine`.
    """
    A = _library()
    reflect = {"border_mode": cv2.BORDER_REFLECT_101}
    noise_std = (10**0.5 / 255, 50**0.5 / 255)
    return [
        A.RandomResizedCrop((size, size), scale=(0.9, 1.0)),
        A.HorizontalFlip(p=0.5),
        A.ShiftScaleRotate(0.0625, 0.1, 45, **reflect, p=0.5),
        A.HueSaturationValue(10, 10, 10, p=0.7),
        A.RandomBrightnessContrast(0.2, 0.2, p=0.7),
        A.CLAHE(clip_limit=(1, 4), p=0.5),
        A.OneOf(
            [
                A.OpticalDistortion(distort_limit=1.0, **reflect),
                A.GridDistortion(num_steps=5, distort_limit=1.0, **reflect),
                A.ElasticTransform(alpha=3, **reflect),
            ],
            p=0.2,
        ),
        A.OneOf(
            [
                A.GaussNoise(std_range=noise_std),
                # OpenCV derives these sigmas for 3 to 7 px; with 0, albumentations 2 returns black.
                A.GaussianBlur(blur_limit=(3, 7), sigma_limit=(0.8, 1.4)),
                A.MotionBlur(blur_limit=(3, 7)),
                A.MedianBlur(blur_limit=(3, 7)),
            ],
            p=0.2,
        ),
        A.OneOf(
            [A.ImageCompression(quality_range=(99, 100)), A.Downscale(scale_range=(0.1, 0.15))],
            p=0.2,
        ),
        _piecewise_affine(),
    ]


def _piecewise_affine() -> Any:
    """IAAPiecewiseAffine's 4 x 4 grid of points, moved by a normal 3 to 5 % of the side.

    albumentations 2's own computes its maps in a Python loop over pixels, and moves the points by
    a third of what is asked. Here the moves are interpolated between the points by OpenCV.
    """
    A = _library()

    class PiecewiseAffine(A.PiecewiseAffine):  # type: ignore[name-defined]
        def get_params_dependent_on_data(
            self, params: dict[str, Any], data: dict[str, Any]
        ) -> dict[str, Any]:
            height, width = params["shape"][:2]
            scale = self.py_random.uniform(*self.scale)
            moves = self.random_generator.normal(0, scale, (4, 4, 2)).astype(np.float32)
            moves = cv2.resize(moves, (width, height)) * np.array([width, height], np.float32)
            x, y = np.meshgrid(np.arange(width), np.arange(height))
            # Points stay inside the image.
            map_x = np.clip(x + moves[..., 0], 0, width - 1).astype(np.float32)
            map_y = np.clip(y + moves[..., 1], 0, height - 1).astype(np.float32)
            return {"map_x": map_x, "map_y": map_y}

    return PiecewiseAffine(p=0.5)
