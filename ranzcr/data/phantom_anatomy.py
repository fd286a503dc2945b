"""The body of a phantom: landmarks of one patient, its soft picture, and the view of one film.

Coordinates are centimetres on the patient: x to the right of the picture (the patient's left), y
down, (0, 0) in the middle of a film without shift. A film is `FILM_CM` wide and high. Brightness is
a density: 0 is air, 1 is white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

FILM_CM = 40.0

_ART_CM = 48.0  # the picture of a body reaches beyond the film, which shifts and turns on it
_ART_PX = 512
_SIDES = (-1, 1)  # the patient's right (left in the picture), the patient's left


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Landmarks of one patient, in cm; they hold for all of the patient's studies."""

    carina: np.ndarray
    glottis: np.ndarray
    confluence: np.ndarray  # of the brachiocephalic veins: the upper end of the superior vena cava
    cavoatrial: np.ndarray  # the vena cava's lower end: where a CVC's tip belongs
    atrium: np.ndarray  # the right atrium's floor
    gastric: np.ndarray  # the junction of oesophagus and stomach
    apex_y: float  # of the lungs
    domes_y: tuple[float, float]  # of the diaphragm, right and left
    half_width: float  # of the chest at its base
    heart: tuple[float, float]  # half axes
    rib_gap: float
    rib_drop: float  # how far a rib falls from the spine to the chest wall
    clavicle_y: float
    bubble: float  # radius of the air in the stomach, 0 for none
    texture_seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Anatomy:
        """Draw a patient at random."""
        carina = np.array([rng.uniform(-0.5, 0.5), rng.uniform(-6.6, -4.8)])
        cavoatrial = moved(carina, -rng.uniform(2.4, 3.0), rng.uniform(3.8, 4.6))
        right_dome = rng.uniform(5.0, 7.2)
        left_dome = right_dome + rng.uniform(0.4, 1.3)
        bubble = rng.uniform(0.8, 1.9) if rng.random() < 0.6 else 0.0
        return cls(
            carina=carina,
            glottis=moved(carina, rng.uniform(-0.6, 0.4), -14.0),
            confluence=moved(carina, -rng.uniform(2.0, 2.5), -rng.uniform(2.6, 3.2)),
            cavoatrial=cavoatrial,
            atrium=moved(cavoatrial, rng.uniform(0.4, 1.0), 6.5),
            gastric=np.array([rng.uniform(1.0, 2.0), left_dome + rng.uniform(0.3, 0.9)]),
            apex_y=rng.uniform(-16.2, -14.8),
            domes_y=(right_dome, left_dome),
            half_width=rng.uniform(12.6, 14.8),
            heart=(rng.uniform(4.8, 6.4), rng.uniform(4.4, 5.6)),
            rib_gap=rng.uniform(2.1, 2.4),
            rib_drop=rng.uniform(4.0, 6.5),
            clavicle_y=rng.uniform(-12.8, -11.2),
            bubble=bubble,
            texture_seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True)
class FilmView:
    """The view of one film: the patient rotated, zoomed and shifted, on `size` x `size` pixels."""

    degrees: float
    zoom: float
    shift: tuple[float, float]  # cm
    size: int

    @classmethod
    def sample(cls, rng: np.random.Generator, size: int) -> FilmView:
        """Draw a film as radiographers take them: nearly straight, nearly centred."""
        shift = (rng.uniform(-1.2, 1.2), rng.uniform(-1.0, 1.0))
        return cls(rng.uniform(-4, 4), rng.uniform(0.93, 1.05), shift, size)

    @property
    def pixels_per_cm(self) -> float:
        return self.zoom * self.size / FILM_CM

    def matrix(self) -> np.ndarray:
        """(2, 3): cm (x, y, 1) -> pixels (x, y)."""
        angle = np.deg2rad(self.degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        offset = self.pixels_per_cm * turn @ self.shift + self.size / 2
        return np.column_stack([self.pixels_per_cm * turn, offset])

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) cm -> (n, 2) pixels."""
        matrix = self.matrix()
        return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])

    def inside(self, points: np.ndarray, margin_cm: float = 0.0) -> np.ndarray:
        """Return (n,) bool: points on the film, or at most `margin_cm` beyond its edge."""
        margin = margin_cm * self.pixels_per_cm
        pixels = self.to_pixels(points)
        inside: np.ndarray = np.all((pixels >= -margin) & (pixels <= self.size + margin), axis=1)
        return inside


def moved(point: np.ndarray, right: float, down: float) -> np.ndarray:
    """A point, or each of several, moved by centimetres."""
    return np.asarray(point + np.array([right, down]))


def smooth(
    points: Sequence[Any] | np.ndarray, *, step: float = 0.5, closed: bool = False
) -> np.ndarray:
    """A Catmull-Rom curve through `points`, as a polyline of about `step` cm a piece.

    (n, 2) -> (m, 2); an open curve begins and ends exactly at the first and the last point.
    """
    knots = np.asarray(points, float)
    padded = (
        np.concatenate([knots[-1:], knots, knots[:2]])
        if closed
        else np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    )
    pieces = []
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        t = np.linspace(0, 1, 12, endpoint=False)[:, None]
        tangents = (end - before) / 2, (after - start) / 2
        pieces.append(_hermite(start, end, *tangents, t))
    curve = np.concatenate([*pieces, padded[-2:-1]])
    return resample(curve, step)


def _hermite(start: Any, end: Any, leaving: Any, arriving: Any, t: Any) -> Any:
    cubic, square = t**3, t**2
    return (
        (2 * cubic - 3 * square + 1) * start
        + (cubic - 2 * square + t) * leaving
        + (3 * square - 2 * cubic) * end
        + (cubic - square) * arriving
    )


def lengths(curve: np.ndarray) -> np.ndarray:
    """(n,) cm along a polyline from its first point to each of its points."""
    return np.concatenate([[0.0], np.linalg.norm(np.diff(curve, axis=0), axis=1).cumsum()])


def resample(curve: np.ndarray, step: float) -> np.ndarray:
    """Return the polyline with points evenly `step` cm apart, or slightly less; the ends stay."""
    along = lengths(curve)
    places = np.linspace(0, along[-1], max(2, int(np.ceil(along[-1] / step)) + 1))
    return np.column_stack([np.interp(places, along, curve[:, axis]) for axis in (0, 1)])


class _Canvas:
    """A density picture of the patient, painted in cm."""

    def __init__(self) -> None:
        self.density = np.zeros((_ART_PX, _ART_PX), np.float32)

    def fill(self, outlines: list[np.ndarray], amount: float, blur_cm: float) -> np.ndarray:
        """Add `amount` within closed outlines with soft edges; returns the soft mask, 0 to 1."""
        mask = np.zeros((_ART_PX, _ART_PX), np.uint8)
        cv2.fillPoly(mask, [_to_art(outline) for outline in outlines], 255, cv2.LINE_AA, shift=4)
        return self._add(mask, amount, blur_cm)

    def bands(
        self,
        curves: list[np.ndarray],
        width_cm: float,
        amount: float,
        blur_cm: float,
        core: float = 255,
    ) -> np.ndarray:
        """Add lines of one width; `core` below 255 leaves their edges brighter, as bones have."""
        mask = np.zeros((_ART_PX, _ART_PX), np.uint8)
        for width, value in ((width_cm, 255), (width_cm * 0.6, core)):
            thickness = max(1, round(width * _ART_PX / _ART_CM))
            drawn = [_to_art(curve) for curve in curves]
            cv2.polylines(mask, drawn, False, value, thickness, cv2.LINE_AA, shift=4)
        return self._add(mask, amount, blur_cm)

    def _add(self, mask: np.ndarray, amount: float, blur_cm: float) -> np.ndarray:
        soft = blurred(mask, blur_cm * _ART_PX / _ART_CM).astype(np.float32) / 255
        self.density += amount * soft
        return soft


def _to_art(points: np.ndarray) -> np.ndarray:
    """cm -> fixed-point pixels of the art canvas, 4 fractional bits."""
    pixels = (np.asarray(points) / _ART_CM + 0.5) * _ART_PX
    return np.round(pixels * 16).astype(np.int32)


def blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of `sigma` pixels; wide ones are made on a smaller picture."""
    if sigma < 4:
        return cv2.GaussianBlur(picture, (0, 0), sigma)
    shrink = int(sigma // 2)
    height, width = picture.shape
    small = cv2.resize(picture, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def paint(body: Anatomy) -> np.ndarray:
    """The patient without any tube: (512, 512) float32 density over 48 x 48 cm."""
    rng = np.random.default_rng(body.texture_seed)
    canvas = _Canvas()
    canvas.density += 0.03
    canvas.fill([_torso(body)], 0.48, 0.5)
    lungs = canvas.fill([_lung(body, side) for side in _SIDES], -0.36, 0.22)
    heart = canvas.fill([_heart(body), _aortic_arch(body)], 0.05, 0.35)
    canvas.density += 0.26 * heart * lungs
    _paint_vessels(canvas, body, lungs * (1 - heart), rng)
    canvas.fill([_mediastinum(body)], 0.07, 0.6)
    canvas.fill([_abdomen(body)], 0.08, 1.2)
    _paint_bones(canvas, body)
    _paint_airway(canvas, body)
    if body.bubble:
        centre = moved(body.gastric, 3.6, 1.6)
        canvas.fill([_ellipse(centre, (1.5 * body.bubble, body.bubble))], -0.16, 0.3)
    canvas.density += 0.03 * _clouds(rng)
    return canvas.density


def project(art: np.ndarray, view: FilmView) -> np.ndarray:
    """Return the view of `paint`'s picture on a film: (size, size) float32 density."""
    to_art = np.array([[_ART_PX / _ART_CM, 0, _ART_PX / 2], [0, _ART_PX / _ART_CM, _ART_PX / 2]])
    matrix = np.vstack([view.matrix(), [0, 0, 1]]) @ np.linalg.inv(np.vstack([to_art, [0, 0, 1]]))
    small = _ART_PX // max(1, round(_ART_PX / 1.5 / view.size))
    if small < _ART_PX:  # averaging areas first keeps small films free of aliased ribs
        art = cv2.resize(art, (small, small), interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.diag([_ART_PX / small, _ART_PX / small, 1])
    return cv2.warpAffine(
        art,
        matrix[:2],
        (view.size, view.size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _torso(body: Anatomy) -> np.ndarray:
    wide = body.half_width
    half = [(4.6, -25), (4.8, -17.5), (9.0, -14.6), (17, -12.6), (24, -8.5), (24, -2)]
    half += [(wide + 4.2, 0.0), (wide + 2.0, 6), (wide + 1.8, 14), (wide + 2.4, 25)]
    return smooth(half + [(-x, y) for x, y in reversed(half)], closed=True)


def _lung(body: Anatomy, side: int) -> np.ndarray:
    """Outline of one lung; the heart is painted over it."""
    dome = body.domes_y[0 if side < 0 else 1]
    top, wide, carina_y = body.apex_y, body.half_width, body.carina[1]
    half = [(2.5, top + 2.2), (4.6, top), (7.9, top + 1.5), (10.6, top + 5.0)]
    half += [(wide - 1.0, -4.0), (wide - 0.1, dome - 3.5), (wide, dome + 2.4)]
    half += [(wide - 0.6, dome + 2.2), (wide * 0.78, dome + 0.5), (wide * 0.5, dome)]
    half += [(3.4, dome + 1.0), (2.7, carina_y + 5.0), (2.5, carina_y), (2.1, carina_y - 4.0)]
    return smooth([(side * x, y) for x, y in half], closed=True)


def _abdomen(body: Anatomy) -> np.ndarray:
    right, left = body.domes_y
    top = [(-body.half_width, right + 3), (-body.half_width / 2, right + 0.6), (0, right + 1.5)]
    top += [(body.half_width / 2, left + 0.6), (body.half_width, left + 3)]
    return np.array([*smooth(top), (20, 26), (-20, 26)])


def _ellipse(centre: Any, axes: tuple[float, float], degrees: float = 0.0) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    flat = np.column_stack([axes[0] * np.cos(angle), axes[1] * np.sin(angle)])
    turn = np.deg2rad(degrees)
    rotation = [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    return np.asarray(flat @ rotation + centre)


def _heart(body: Anatomy) -> np.ndarray:
    across, down = body.heart
    return _ellipse((1.9, body.domes_y[1] - 0.72 * down), (across, down), 28)


def _aortic_arch(body: Anatomy) -> np.ndarray:
    return _ellipse(moved(body.carina, 2.3, -1.6), (1.4, 1.7))


def _mediastinum(body: Anatomy) -> np.ndarray:
    floor = body.domes_y[1] + 2
    return np.array([(-2.3, -13), (2.3, -13), (2.9, 0), (3.2, floor), (-3.2, floor), (-2.9, -2)])


def _paint_bones(canvas: _Canvas, body: Anatomy) -> None:
    high = body.rib_gap
    vertebra = np.array([(-1.7, 0), (1.7, 0), (1.8, high), (-1.8, high)])
    spine = [moved(vertebra, 0, y) for y in np.arange(-24, 24, high + 0.3)]
    canvas.fill(spine, 0.06, 0.15)
    for side in _SIDES:
        canvas.bands([_rib(body, side, i) for i in range(10)], 1.05, 0.085, 0.10, core=150)
        canvas.bands([_front_rib(body, side, i) for i in range(6)], 1.2, 0.04, 0.20, core=180)
        canvas.bands([_clavicle(body, side)], 1.15, 0.10, 0.10, core=160)
        canvas.fill([_scapula(body, side)], 0.05, 0.3)


def _rib(body: Anatomy, side: int, number: int) -> np.ndarray:
    """A rib's back part: out of the spine, a little up, then down along the chest wall."""
    y = body.apex_y + 1.4 + number * body.rib_gap
    wall = body.half_width * min(1.0, 0.52 + 0.09 * number)
    drop = body.rib_drop * min(1.0, 0.5 + 0.1 * number)
    half = [(1.9, y), (0.42 * wall, y - 0.7), (0.75 * wall, y + 0.2 * drop)]
    half += [(0.95 * wall, y + 0.6 * drop), (wall + 0.3, y + drop)]
    return smooth([(side * x, y) for x, y in half])


def _front_rib(body: Anatomy, side: int, number: int) -> np.ndarray:
    y = body.apex_y + 5.5 + number * body.rib_gap * 1.15
    wall = body.half_width * min(1.0, 0.66 + 0.08 * number)
    half = [(wall, y), (0.8 * wall, y + 2.6), (0.5 * wall, y + 3.9), (0.36 * wall, y + 3.6)]
    return smooth([(side * x, y) for x, y in half])


def _clavicle(body: Anatomy, side: int) -> np.ndarray:
    y = body.clavicle_y
    half = [(1.9, y + 1.7), (5.0, y + 0.9), (9.0, y - 0.9), (14.5, y - 1.4), (17.0, y - 0.8)]
    return smooth([(side * x, y) for x, y in half])


def _scapula(body: Anatomy, side: int) -> np.ndarray:
    wide = body.half_width
    half = [(wide - 2.6, -10.5), (wide + 3.5, -11), (wide + 2.0, -6), (wide - 0.6, 0.5)]
    return smooth([(side * x, y) for x, y in half], closed=True)


def _paint_vessels(
    canvas: _Canvas, body: Anatomy, lungs: np.ndarray, rng: np.random.Generator
) -> None:
    """Vessels branch from each hilum and thin out towards the chest wall."""
    layer = _Canvas()
    for side in _SIDES:
        hilum = moved(body.carina, side * 3.0, 2.6)
        for width, count, reach in ((0.5, 9, 4.0), (0.28, 16, 7.0), (0.16, 26, 10.0)):
            curves = [_vessel(hilum, side, reach, rng) for _ in range(count)]
            layer.bands(curves, width, 0.05, 0.09)
    canvas.density += layer.density * lungs


def _vessel(hilum: np.ndarray, side: int, reach: float, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(-1.25, 1.25)
    direction = np.array([side * np.cos(angle), np.sin(angle)])
    across = np.array([-direction[1], direction[0]])
    far = reach * rng.uniform(0.6, 1.2)
    bend = rng.normal(0, 0.12 * far)
    middle = hilum + direction * far / 2 + across * bend
    return smooth([hilum, middle, hilum + direction * far + across * bend * rng.normal(0.5, 1)])


def _paint_airway(canvas: _Canvas, body: Anatomy) -> None:
    canvas.bands([np.array([body.glottis, moved(body.carina, 0, -0.7)])], 1.7, -0.12, 0.18)
    canvas.bands([course[1:] for course in bronchi(body)], 1.1, -0.12, 0.18)


def bronchi(body: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Courses of the right (steep) and the left (flat) main bronchus from the carina, 4 cm each."""
    right, left = ((-1.2, 1.6), (-2.4, 3.2)), ((1.7, 1.5), (3.5, 2.4))
    courses = [[body.carina, *(moved(body.carina, *way) for way in ways)] for ways in (right, left)]
    return smooth(courses[0]), smooth(courses[1])


def _clouds(rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of several scales, about -2 to 2."""
    total = np.zeros((_ART_PX, _ART_PX), np.float32)
    for cells, weight in ((6, 0.7), (16, 0.5), (48, 0.35)):
        coarse = rng.standard_normal((cells, cells)).astype(np.float32)
        total += weight * cv2.resize(coarse, (_ART_PX, _ART_PX), interpolation=cv2.INTER_CUBIC)
    return total
