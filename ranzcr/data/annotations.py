"""Annotated lines: polylines of catheters and tubes, in pixels of the original image."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ranzcr.labels import LabelSchema, family_of

POINT_SIZE = 50  # side of a drawn square, original pixels (hengck23's staged training)
LINE_WIDTH = 32  # width of a mask's line, original pixels (4th place)

Points = list[list[float]]  # [x, y] pairs
Line = tuple[str, Points]  # label, points


def parse_points(text: str) -> Points:
    """`[[x, y], ...]` in original pixels; points may lie outside the image.

    Raises ValueError with what was found in its place.
    """
    try:
        points = json.loads(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r}, not JSON") from None
    if not isinstance(points, list) or not points:
        raise ValueError(f"{text[:40]!r}, not a list of points")
    for point in points:
        if not _is_point(point):
            raise ValueError(f"{text[:40]!r} with {str(point)[:40]}, not a pair of numbers")
    return points


def draw(
    image: np.ndarray, lines: Iterable[Line], schema: LabelSchema, *, width: int, height: int
) -> np.ndarray:
    """A colour copy of `image` on which every annotated point is a filled square.

    Args:
        image: (S, S) uint8, the whole original resized.
        lines: label and points of each line; the colour says the label.
        width, height: of the original, in which a square measures 50 px.

    Returns (S, S, 3) uint8.
    """
    drawn = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    colours = label_colours(schema)
    scale = _scale(image.shape[0], width, height)
    half = np.maximum(POINT_SIZE * scale / 2, 0.5)
    for label, points in lines:
        colour = colours[schema.names.index(label)].tolist()
        for centre in np.asarray(points, float) * scale:
            low, high = np.floor(centre - half).astype(int), np.ceil(centre + half).astype(int) - 1
            cv2.rectangle(drawn, low.tolist(), high.tolist(), colour, cv2.FILLED)
    return drawn


def line_masks(
    size: int,
    lines: Iterable[Line],
    families: Sequence[str],
    *,
    width: int,
    height: int,
) -> np.ndarray:
    """One mask per device family: 1 where one of its lines runs, else 0.

    Lines are 32 px wide in an original of `width` x `height`, and at least 1 px in the mask.
    Returns (F, size, size) uint8 in the order of `families`.
    """
    masks = np.zeros((len(families), size, size), np.uint8)
    scale = _scale(size, width, height)
    for label, points in lines:
        polyline = np.round(np.asarray(points, float) * scale).astype(np.int32)
        polyline = np.vstack([polyline, polyline[-1:]])  # so that a single point is drawn too
        cv2.polylines(masks[families.index(family_of(label))], [polyline], False, 1)
    # Thickened by hand: OpenCV 5 draws a line of thickness 3 five pixels wide.
    across = np.maximum(1, np.round(LINE_WIDTH * scale)).astype(int)
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, across.tolist())
    return np.stack([cv2.dilate(mask, pen) for mask in masks]) if families else masks


def annotated_families(labels: Iterable[str], schema: LabelSchema) -> tuple[str, ...]:
    """The families that have annotations at all, in schema order: what a mask decoder predicts."""
    present = {family_of(label) for label in labels}
    return tuple(family for family in schema.families if family in present)


def label_colours(schema: LabelSchema) -> np.ndarray:
    """(L, 3) uint8 RGB: fully saturated hues, evenly spaced."""
    hues = (np.arange(len(schema)) * 180 / len(schema)).astype(np.uint8)
    hsv = np.stack([hues, np.full_like(hues, 255), np.full_like(hues, 255)], axis=1)
    return np.asarray(cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0])


def _scale(size: int, width: int, height: int) -> np.ndarray:
    return np.array([size / width, size / height])


def _is_point(point: object) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(type(number) in (int, float) and math.isfinite(number) for number in point)
    )
