"""Tubes and lines on a phantom: the clinical rules, the courses they take, and their drawing.

The rules, in cm on the patient (`phantom_anatomy` says how its centimetres lie):

    device  measured                          normal    borderline         abnormal
    ETT     tip above the carina              3 to 7    2 to 3, 7 to 8     else (also in a bronchus)
    NGT     tube below the gastro-            >= 10     0 to 10            not below it
            oesophageal junction
    CVC     tip below the cavoatrial          -3 to 1   -6 to -3, 1 to 3   else, or > 2 off the
            junction (above: negative)                                     course of the vena cava

An NGT that leaves the film before its tip is incompletely imaged, whatever its length. A Swan-Ganz
catheter is one that dives at least 3 cm below the cavoatrial junction (into the right ventricle)
and comes up again by at least 4 cm (into the pulmonary artery).

A tube is placed by proposing a tip in the region of the wanted label, and kept when the rule,
applied to the whole course as drawn, gives that label. How a tube looks never depends on its label:
what differs is where it lies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ranzcr.data.phantom_anatomy import Anatomy, FilmView, bronchi, lengths, moved, resample, smooth

# How hard the phantoms are: widths as drawn (cm) and densities above the tissue beside them. Real
# ETTs are wider and fainter; these survive an area resize to 128 px.
ETT_WIDTH, NGT_WIDTH, CVC_WIDTH, SWAN_WIDTH = 0.50, 0.26, 0.24, 0.30
WIRE_WIDTH, DRAIN_WIDTH, ELECTRODE_RADIUS = 0.12, 0.50, 0.55
CONTRAST = (0.18, 0.30)  # of a tube's line, drawn per tube
WIRES_SHARE, DRAIN_SHARE = 0.35, 0.06  # studies with ECG wires, with a chest drain

_CLEAR_OF_LIMITS = 0.1  # cm between a tip and a rule's limit: no label hangs on a pixel's rounding
_BEYOND_FILM = 0.4  # cm that an outline may reach beyond the film
_PROPOSALS = 400


@dataclass(frozen=True, eq=False)
class Tube:
    """A device as drawn: its label and its course, (n, 2) cm from entry to tip."""

    label: str
    course: np.ndarray


def ett_label(height_cm: float) -> str:
    """From the tip's height above the carina; below it the tip lies in a bronchus."""
    if 3 <= height_cm <= 7:
        return "ETT - Normal"
    return "ETT - Borderline" if 2 <= height_cm <= 8 else "ETT - Abnormal"


def ngt_label(below_junction_cm: float, *, tip_on_film: bool) -> str:
    """From the length of tube below the gastro-oesophageal junction."""
    if not tip_on_film:
        return "NGT - Incompletely Imaged"
    if below_junction_cm <= 0:
        return "NGT - Abnormal"
    return "NGT - Normal" if below_junction_cm >= 10 else "NGT - Borderline"


def cvc_label(depth_cm: float, off_course_cm: float) -> str:
    """From the tip's depth below the cavoatrial junction and its distance from the vena cava."""
    if off_course_cm > 2 or not -6 <= depth_cm <= 3:
        return "CVC - Abnormal"
    return "CVC - Normal" if -3 <= depth_cm <= 1 else "CVC - Borderline"


def is_swan_ganz(dive_cm: float, rise_cm: float) -> bool:
    """From the depth below the cavoatrial junction and the way up again to the tip."""
    return dive_cm >= 3 and rise_cm >= 4


def ett_height(course: np.ndarray, body: Anatomy) -> float:
    """cm from the carina up to the tip."""
    return float(body.carina[1] - course[-1, 1])


def ngt_length_below(course: np.ndarray, body: Anatomy) -> float:
    """cm of tube after it first passes the level of the gastro-oesophageal junction."""
    below = course[:, 1] > body.gastric[1]
    along = lengths(course)
    return float(along[-1] - along[below.argmax()]) if below.any() else 0.0


def cvc_position(course: np.ndarray, body: Anatomy) -> tuple[float, float]:
    """(depth below the cavoatrial junction, distance from the course of the vena cava), cm."""
    tip = course[-1]
    cava = resample(caval_course(body), 0.1)
    off_course = np.linalg.norm(cava - tip, axis=1).min()
    return float(tip[1] - body.cavoatrial[1]), float(off_course)


def swan_ganz_loop(course: np.ndarray, body: Anatomy) -> tuple[float, float]:
    """(how far the course dives below the cavoatrial junction, how far it rises again), cm."""
    lowest = course[:, 1].max()
    return float(lowest - body.cavoatrial[1]), float(lowest - course[-1, 1])


def label_of(device: str, course: np.ndarray, body: Anatomy, view: FilmView) -> str:
    """The label that the rules give to a device ("ETT", "NGT", "CVC", "Swan Ganz") as it lies.

    "" for a Swan-Ganz catheter without its loop.
    """
    if device == "ETT":
        return ett_label(ett_height(course, body))
    if device == "NGT":
        on_film = bool(view.inside(course[-1:])[0])
        return ngt_label(ngt_length_below(course, body), tip_on_film=on_film)
    if device == "CVC":
        return cvc_label(*cvc_position(course, body))
    present = is_swan_ganz(*swan_ganz_loop(course, body))
    return "Swan Ganz Catheter Present" if present else ""


def place(label: str, body: Anatomy, view: FilmView, rng: np.random.Generator) -> Tube:
    """A tube of the wanted label: proposed in its region until the rules agree."""
    device, propose = _PROPOSERS[label]
    for _ in range(_PROPOSALS):
        course = propose(body, rng)
        if label_of(device, course, body, view) == label and _tip_may_be_seen(course, label, view):
            return Tube(label, course)
    raise AssertionError(f"no place for {label} in {_PROPOSALS} proposals")


def _tip_may_be_seen(course: np.ndarray, label: str, view: FilmView) -> bool:
    """A tip lies clearly on the film; an incompletely imaged one clearly beyond it."""
    if label == "NGT - Incompletely Imaged":
        return not view.inside(course[-1:], margin_cm=0.5)[0]
    return bool(view.inside(course[-1:], margin_cm=-0.5)[0])


Proposer = Callable[[Anatomy, np.random.Generator], np.ndarray]


def _between(rng: np.random.Generator, *ranges: tuple[float, float]) -> float:
    """A value from one of the ranges (each as likely), kept clear of their ends."""
    low, high = ranges[rng.integers(len(ranges))]
    return float(rng.uniform(low + _CLEAR_OF_LIMITS, high - _CLEAR_OF_LIMITS))


def _wobbled(points: list[Any], rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Points moved a little, but for the last one: no two tubes lie alike."""
    knots = np.array(points, float)
    knots[:-1] += rng.normal(0, sigma, (len(knots) - 1, 2))
    return knots


def _ett(*heights: tuple[float, float]) -> Proposer:
    """An endotracheal tube with its tip at a height within the trachea."""

    def propose(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
        return _down_the_trachea(body, _between(rng, *heights), rng)

    return propose


def _down_the_trachea(body: Anatomy, height: float, rng: np.random.Generator) -> np.ndarray:
    axis = body.glottis - body.carina
    tip = body.carina + axis * (height / -axis[1]) + [rng.normal(0, 0.2), 0]
    above = [body.carina + axis * (h / -axis[1]) for h in (20, 14, height + 3)]
    return smooth(_wobbled([*above, tip], rng, 0.15))


def _abnormal_ett(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.6:
        return _down_the_trachea(body, _between(rng, (0, 2), (8, 10)), rng)
    bronchus = bronchi(body)[0 if rng.random() < 0.8 else 1]
    axis = body.glottis - body.carina
    above = [body.carina + axis * (h / -axis[1]) for h in (20, 14, 5)]
    into = bronchus[1 : 1 + rng.integers(1, len(bronchus) - 2)]
    return smooth([*_wobbled([*above, body.carina - [0, 1]], rng, 0.15), *into])


def _gullet(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Knots of the oesophagus's course from above the film to its end, a little left of midline."""
    x = body.carina[0] + 0.5
    knots = [(body.glottis[0] + 0.3, -24), (x - 0.3, -16), (x, body.carina[1] - 3)]
    knots += [(x + 0.2, body.carina[1] + 4), (body.gastric[0] - 0.3, body.gastric[1] - 3)]
    return _wobbled([*knots, body.gastric], rng, 0.2)


def _ngt_in_stomach(*below: tuple[float, float]) -> Proposer:
    """A nasogastric tube with a length of it below the junction."""

    def propose(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
        stomach = _long_stomach(body, rng) if rng.random() < 0.4 else _round_stomach(body, rng)
        course = smooth(np.concatenate([_gullet(body, rng), stomach]))
        return _cut_below(course, body, _between(rng, *below))

    return propose


def _incomplete_ngt(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
    return smooth(np.concatenate([_gullet(body, rng), _long_stomach(body, rng)]))


def _round_stomach(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Knots along a greater curvature that turns back to the midline on the film."""
    wide, deep = rng.uniform(3.0, 5.5), rng.uniform(6.0, 8.2)
    turns = [(0.7 * wide, 0.35 * deep), (wide, 0.7 * deep), (0.6 * wide, deep)]
    return moved(np.array([*turns, (-0.5, deep), (-4.0, 0.8 * deep)]), *body.gastric)


def _long_stomach(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Knots of a stomach that hangs down beyond the film's lower edge."""
    first, second, last = rng.uniform(0.5, 3.5), rng.uniform(0, 4.5), rng.uniform(-1, 4)
    return moved(np.array([(first, 4), (second, 9), (last, 18)]), *body.gastric)


def _cut_below(course: np.ndarray, body: Anatomy, below: float) -> np.ndarray:
    along = lengths(course)
    junction = along[(course[:, 1] > body.gastric[1]).argmax()]
    return _cut(course, junction + below)


def _cut(course: np.ndarray, length: float) -> np.ndarray:
    """The first `length` cm of a course, ending exactly there."""
    along = lengths(course)
    tip = [np.interp(length, along, course[:, axis]) for axis in (0, 1)]
    return np.vstack([course[along < length], tip])


def _abnormal_ngt(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """The tip still in the oesophagus, or, past the carina, in a bronchus."""
    if rng.random() < 0.65:
        course = smooth(_gullet(body, rng))
        return _cut(course, lengths(course)[-1] - _between(rng, (0.3, 7)))
    side = 0 if rng.random() < 0.75 else 1
    bronchus = bronchi(body)[side]
    axis = body.glottis - body.carina
    above = [body.carina + axis * (h / -axis[1]) for h in (20, 12, 5)]
    beyond = bronchus[-1] + [(-1, 1)[side] * rng.uniform(0.5, 2.0), rng.uniform(0.5, 4.5)]
    return smooth(
        [*_wobbled([*above, body.carina - [0, 1]], rng, 0.2), bronchus[3], bronchus[-1], beyond]
    )


def caval_course(body: Anatomy) -> np.ndarray:
    """(3, 2) cm: the superior vena cava and the right atrium behind its end."""
    return np.array([body.confluence, body.cavoatrial, body.atrium])


# How often a central line enters where: the same for every label.
_ENTRIES = {
    "right jugular": 0.36,
    "left jugular": 0.10,
    "right subclavian": 0.20,
    "left subclavian": 0.10,
    "right arm": 0.14,
    "left arm": 0.10,
}


def _entry(rng: np.random.Generator, names: tuple[str, ...] = tuple(_ENTRIES)) -> str:
    weights = np.array([_ENTRIES[name] for name in names])
    return names[rng.choice(len(names), p=weights / weights.sum())]


def _to_the_cava(entry: str, body: Anatomy) -> list[Any]:
    """Knots from the skin to just before the confluence of the brachiocephalic veins."""
    side = -1 if entry.startswith("right") else 1
    y = body.clavicle_y
    if entry.endswith("jugular"):
        knots = [(side * 4.6, -24), (side * 4.4, -17), (side * 3.8, y - 0.5)]
    elif entry.endswith("subclavian"):
        knots = [(side * 11.5, y + 2.8), (side * 8.5, y + 0.9), (side * 5.2, y + 0.2)]
    else:
        knots = [(side * 24, -3), (side * 17.5, -6.5), (side * 12, y + 1.2), (side * 6.5, y + 0.4)]
    if side > 0:  # the left brachiocephalic vein crosses the midline
        knots += [(3.0, y + 1.6), (0.2, (y + body.confluence[1]) / 2 + 0.6)]
    return knots


def _cvc(*depths: tuple[float, float]) -> Proposer:
    """A central venous catheter with its tip at a depth on the vena cava's course."""

    def propose(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
        y = body.cavoatrial[1] + _between(rng, *depths)
        cava = caval_course(body)
        tip = np.array([np.interp(y, cava[:, 1], cava[:, 0]) + rng.normal(0, 0.25), y])
        passed = cava[cava[:, 1] < y - 1.5]
        knots = [*_to_the_cava(_entry(rng), body), *passed, tip]
        return smooth(_wobbled(knots, rng, 0.25))

    return propose


def _abnormal_cvc(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Too deep, too short, or gone astray into another vein."""
    mishap = rng.random()
    if mishap < 0.3:
        return _cvc((3, 6))(body, rng)
    if mishap < 0.5:
        course = smooth(_wobbled([*_to_the_cava(_entry(rng), body), body.confluence], rng, 0.25))
        return _cut(course, lengths(course)[-1] - rng.uniform(0.3, 5.0))
    entry = _entry(rng, ("right subclavian", "left subclavian", "right arm", "left arm"))
    side = -1 if entry.startswith("right") else 1
    y = body.clavicle_y
    knots = [knot for knot in _to_the_cava(entry, body) if side * knot[0] > 4.5]
    if mishap < 0.8:  # up the jugular vein of the same side
        knots += [(side * 4.3, y - 0.6), (side * 4.5, y - rng.uniform(2.0, 4.5))]
    else:  # across to the other side's subclavian vein
        knots += [(side * 3.0, y + 2.0), (0, y + 3.2), (-side * 3.2, y + 1.8)]
        knots += [(-side * rng.uniform(5.5, 8.0), y + 0.5)]
    return smooth(_wobbled(knots, rng, 0.25))


def _swan_ganz(body: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Through the right atrium and ventricle up into a pulmonary artery."""
    entry = _entry(rng, ("right jugular", "left jugular", "right subclavian"))
    cavo_x, cavo_y = body.cavoatrial
    loop: list[Any] = [(cavo_x + 0.3, cavo_y + 3.2), (cavo_x + 2.3, cavo_y + rng.uniform(5.2, 6.2))]
    loop += [(cavo_x + 5.2, cavo_y + 4.6), (cavo_x + 5.8, cavo_y + 1.4)]
    loop += [(body.carina[0] + 1.6, body.carina[1] + 2.0)]
    if rng.random() < 0.75:
        loop += [moved(body.carina, -1.5, 1.8)]
        loop += [moved(body.carina, -rng.uniform(3, 5.5), rng.uniform(2, 4))]
    else:
        loop += [moved(body.carina, rng.uniform(3.5, 5.5), rng.uniform(0.8, 2.4))]
    knots = [*_to_the_cava(entry, body), body.confluence, body.cavoatrial, *loop]
    return smooth(_wobbled(knots, rng, 0.2))


_PROPOSERS: dict[str, tuple[str, Proposer]] = {
    "ETT - Abnormal": ("ETT", _abnormal_ett),
    "ETT - Borderline": ("ETT", _ett((2, 3), (7, 8))),
    "ETT - Normal": ("ETT", _ett((3, 7))),
    "NGT - Abnormal": ("NGT", _abnormal_ngt),
    "NGT - Borderline": ("NGT", _ngt_in_stomach((0.3, 10))),
    "NGT - Incompletely Imaged": ("NGT", _incomplete_ngt),
    "NGT - Normal": ("NGT", _ngt_in_stomach((10, 15))),
    "CVC - Abnormal": ("CVC", _abnormal_cvc),
    "CVC - Borderline": ("CVC", _cvc((-6, -3), (1, 3))),
    "CVC - Normal": ("CVC", _cvc((-3, 1))),
    "Swan Ganz Catheter Present": ("Swan Ganz", _swan_ganz),
}


class Film:
    """A density picture on which lines are drawn finer than its pixels."""

    def __init__(self, density: np.ndarray, view: FilmView) -> None:
        self.density = density
        self.view = view
        self._fine = max(1, int(np.ceil(1024 / view.size)))  # subpixels per pixel and axis

    def line(self, course: np.ndarray, width_cm: float, amount: float) -> None:
        """Add a line of constant width; its ends are round."""
        self.lines([(course, width_cm, 255)], amount)

    def lines(self, strokes: list[tuple[np.ndarray, float, int]], amount: float) -> None:
        """Add one object's strokes (course, width in cm, level 0-255); later ones cover earlier."""
        side = self.view.size * self._fine
        mask = np.zeros((side, side), np.uint8)
        for course, width_cm, level in strokes:
            thickness = width_cm * self.view.pixels_per_cm * self._fine
            points = np.round(self.view.to_pixels(course) * self._fine * 16).astype(np.int32)
            cv2.polylines(mask, [points], False, level, max(1, round(thickness)), cv2.LINE_AA, 4)
        self._add(mask, amount)

    def disc(self, centre: np.ndarray, radius_cm: float, amount: float) -> None:
        self.line(np.array([centre, centre + 1e-3]), 2 * radius_cm, amount)

    def _add(self, mask: np.ndarray, amount: float) -> None:
        size = (self.view.size, self.view.size)
        seen = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
        self.density += amount / 255 * seen.astype(np.float32)


def draw(tube: Tube, film: Film, rng: np.random.Generator) -> None:
    """Draw a tube as its device looks on a film; where its tip lies plays no part."""
    amount = rng.uniform(*CONTRAST)
    if tube.label.startswith("ETT"):  # two walls
        film.lines([(tube.course, ETT_WIDTH, 255), (tube.course, ETT_WIDTH * 0.45, 170)], amount)
    elif tube.label.startswith("NGT"):  # a side hole, and a weighted tip
        along = lengths(tube.course)[-1] - lengths(tube.course)
        hole, weight = tube.course[(along > 3.0) & (along < 4.2)], tube.course[along < 1.2]
        strokes = [(tube.course, NGT_WIDTH, 220), (hole, NGT_WIDTH, 120), (weight, NGT_WIDTH, 255)]
        film.lines([stroke for stroke in strokes if len(stroke[0]) > 1], amount)
    else:
        film.line(tube.course, SWAN_WIDTH if "Swan" in tube.label else CVC_WIDTH, amount)


def draw_distractors(film: Film, body: Anatomy, rng: np.random.Generator) -> None:
    """Objects without a label of their own: ECG wires and chest drains."""
    if rng.random() < WIRES_SHARE:
        _draw_wires(film, rng)
    if rng.random() < DRAIN_SHARE:
        side = rng.choice((-1, 1))
        wall = side * (body.half_width + 2.5)
        inside = [(side * 11.0, 1.0), (side * 8.0, -5.0), (side * rng.uniform(5, 7.5), -11.5)]
        course = smooth(_wobbled([(wall + side * 6, 8.0), (wall, 5.0), *inside], rng, 0.4))
        amount = rng.uniform(*CONTRAST)
        film.lines([(course, DRAIN_WIDTH, 110), (course, DRAIN_WIDTH * 0.35, 255)], amount)


def _draw_wires(film: Film, rng: np.random.Generator) -> None:
    places = np.array([(-9.5, -9.0), (9.5, -9.0), (-10.5, 5.5), (10.5, 6.5)])
    worn = rng.permutation(places)[: rng.integers(2, 5)]
    for electrode in worn + rng.normal(0, 1.0, worn.shape):
        x, y = electrode
        amount = rng.uniform(*CONTRAST)
        film.disc(electrode, ELECTRODE_RADIUS, 0.6 * amount)
        edge = (np.sign(x) * 24, y + rng.uniform(-6, 6)) if rng.random() < 0.6 else (x * 0.7, -24)
        bow = (electrode + edge) / 2 + rng.normal(0, 1.5, 2)
        film.line(smooth([electrode, bow, edge]), WIRE_WIDTH, amount)


def outline(tube: Tube, view: FilmView) -> list[list[int]]:
    """The tube as annotated: [x, y] in whole pixels, cut to what the film shows."""
    shown = tube.course[view.inside(tube.course, margin_cm=_BEYOND_FILM)]
    pixels: list[list[int]] = np.round(view.to_pixels(shown)).astype(int).tolist()
    return pixels
