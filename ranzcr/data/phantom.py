"""Phantom chest X-rays: a competition folder drawn from a seed, its labels by stated rules.

A phantom is a parametrised frontal chest (`phantom_anatomy`) with tubes on it (`phantom_devices`,
whose docstring states the clinical rules in cm). The studies of a patient share one anatomy; film
position, exposure, noise and tubes differ. Which labels are wanted where is settled first
(`phantom_plan`), near the competition's prevalences; then tubes are placed so that geometry gives
those labels, and the tables are written from what geometry gave.

Every random choice comes from (seed, stream, number), never from shared state: the same seed gives
the same bytes with any number of workers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from ranzcr.competitions import PHANTOM_LABELS
from ranzcr.cores import cores
from ranzcr.data.phantom_anatomy import Anatomy, FilmView, blurred, paint, project
from ranzcr.data.phantom_devices import Film, Tube, draw, draw_distractors, outline, place
from ranzcr.data.phantom_plan import SPLITS, StudyPlan, plan_studies
from ranzcr.errors import ConfigError, OutputError
from ranzcr.files import replacing, write_json
from ranzcr.labels import PATIENT, UID
from ranzcr.progress import track

NOISE = (0.010, 0.028)  # of a film, as a share of full brightness
OPACITY_SHARE = 0.3  # studies with a shadow in a lung, as pneumonia makes
JPEG_QUALITY = 92

_VERSION = 1  # of the drawing: another one is another data set
_MARKER = "phantom.json"
_SERIAL_STUDIES = 48  # below this a second process costs more than it saves


@dataclass(frozen=True, eq=False)
class Phantom:
    """A drawn study: (size, size) uint8 grey, and the geometry behind it."""

    image: np.ndarray
    body: Anatomy
    view: FilmView
    tubes: tuple[Tube, ...]

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(tube.label for tube in self.tubes)


@dataclass(frozen=True)
class Study:
    """A saved study's lines in the tables."""

    labels: frozenset[str]
    outlines: tuple[tuple[str, str], ...]  # (label, JSON list of [x, y]) per tube


def write_competition(
    out: Path | str, *, studies: int, size: int = 512, seed: int = 0, workers: int | None = None
) -> Path:
    """Write a competition folder of phantoms and return it.

    Args:
        out: the folder; where it already holds exactly these phantoms, nothing is done.
        studies: in train; test gets about a quarter as many, of other patients.
        size: pixels per side, from 64.
        seed: 0 or more; the same seed gives the same bytes.
        workers: processes that draw; None takes one per core at hand.

    Raises ConfigError for a value out of range, OutputError where `out` holds something else.
    """
    _check(studies=studies, size=size, seed=seed, workers=workers)
    out = Path(out)
    made_of = {"version": _VERSION, "studies": studies, "size": size, "seed": seed}
    if _already_there(out, made_of):
        return out
    with replacing(out) as folder:
        plans = [plan for split in SPLITS for plan in plan_studies(studies, seed, split)]
        for split in SPLITS:
            (folder / split).mkdir(parents=True)
        drawn = _draw_all(plans, folder, size, workers)
        _write_tables(folder, plans, list(track(drawn, "Drawing phantoms", total=len(plans))))
        write_json(folder / _MARKER, made_of)
    return out


def _check(*, studies: int, size: int, seed: int, workers: int | None) -> None:
    if studies < 1:
        raise ConfigError(f"studies={studies} must be at least 1")
    if size < 64:
        raise ConfigError(f"size={size} must be at least 64 pixels")
    if seed < 0:
        raise ConfigError(f"seed={seed} must be 0 or more")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers={workers} must be at least 1")


def _already_there(out: Path, made_of: dict[str, int]) -> bool:
    """Return whether `out` holds these phantoms. Raises OutputError if it holds other files."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise OutputError(f"{out}: a file is in the way; choose another folder")
    marker = out / _MARKER
    if marker.is_file():
        try:
            return bool(json.loads(marker.read_text(encoding="utf-8")) == made_of)
        except ValueError:
            return False
    if any(out.iterdir()):
        raise OutputError(f"{out}: holds files that are not phantoms; choose another folder")
    return False


# Drawing


def draw_study(plan: StudyPlan, size: int) -> Phantom:
    """Draw one study; all that is random in it follows from the plan's seeds."""
    rng = np.random.default_rng(plan.study_seed)
    body, art = _patient(plan.patient_seed)
    view = FilmView.sample(rng, size)
    tubes = tuple(place(label, body, view, rng) for label in plan.wanted)
    film = Film(project(art, view), view)
    _draw_opacity(film, body, rng)
    draw_distractors(film, body, rng)
    for tube in tubes:
        draw(tube, film, rng)
    return Phantom(_expose(film, rng), body, view, tubes)


@lru_cache(maxsize=4)  # a patient's studies come one after another
def _patient(seed: tuple[int, ...]) -> tuple[Anatomy, np.ndarray]:
    body = Anatomy.sample(np.random.default_rng(seed))
    return body, paint(body)


def _draw_opacity(film: Film, body: Anatomy, rng: np.random.Generator) -> None:
    """A shadow in one lung, as pneumonia or fluid makes, in some studies."""
    if rng.random() >= OPACITY_SHARE:
        return
    side = rng.choice((-1, 1))
    centre = np.array([[side * rng.uniform(5, 10), rng.uniform(-8, 6)]])
    radius = rng.uniform(2.0, 4.5) * film.view.pixels_per_cm
    x, y = film.view.to_pixels(centre)[0]
    rows, columns = np.ogrid[: film.view.size, : film.view.size]
    distance = ((columns - x) ** 2 + (rows - y) ** 2) / radius**2
    film.density += rng.uniform(0.06, 0.18) * np.exp(-distance).astype(np.float32)


def _expose(film: Film, rng: np.random.Generator) -> np.ndarray:
    """Density -> 8-bit grey: exposure, contrast, uneven light, the detector's noise."""
    size = film.view.size
    tilt = np.linspace(-1, 1, size, dtype=np.float32) * rng.uniform(-0.04, 0.04)
    light = blurred(film.density, 0.0009 * size) + tilt
    exposed = np.clip(light * rng.uniform(0.88, 1.12) + rng.uniform(-0.05, 0.05), 0, 1.2)
    exposed = exposed ** rng.uniform(0.85, 1.2)
    noise = rng.standard_normal((size, size), np.float32) * rng.uniform(*NOISE)
    return np.asarray(np.clip((exposed + noise) * 255, 0, 255).astype(np.uint8))


def _draw_all(
    plans: Sequence[StudyPlan], folder: Path, size: int, workers: int | None
) -> Iterator[Study]:
    """Draw and save every study, in order, by as many processes as are of use."""
    jobs = [(plan, folder, size) for plan in plans]
    processes = workers or cores()
    if processes == 1 or len(jobs) < _SERIAL_STUDIES:
        yield from map(_save, jobs)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(_save, jobs, chunksize=16)


def _save(job: tuple[StudyPlan, Path, int]) -> Study:
    plan, folder, size = job
    cv2.setNumThreads(1)
    phantom = draw_study(plan, size)
    encoded = cv2.imencode(".jpg", phantom.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    (folder / plan.split / f"{plan.uid}.jpg").write_bytes(encoded.tobytes())
    drawn = [(tube.label, json.dumps(outline(tube, phantom.view))) for tube in phantom.tubes]
    return Study(phantom.labels, tuple(drawn))


# Tables


def _write_tables(folder: Path, plans: Sequence[StudyPlan], studies: Sequence[Study]) -> None:
    train = [
        (plan, study) for plan, study in zip(plans, studies, strict=True) if plan.split == "train"
    ]
    table = [
        [plan.uid, *(int(label in study.labels) for label in PHANTOM_LABELS.names), plan.patient]
        for plan, study in train
    ]
    _write_csv(folder / "train.csv", [UID, *PHANTOM_LABELS.names, PATIENT], table)
    outlines = [
        [plan.uid, *drawn] for plan, study in train if plan.annotated for drawn in study.outlines
    ]
    _write_csv(folder / "train_annotations.csv", [UID, "label", "data"], outlines)
    zeros = [0] * len(PHANTOM_LABELS)
    test = [[plan.uid, *zeros] for plan in plans if plan.split == "test"]
    _write_csv(folder / "sample_submission.csv", [UID, *PHANTOM_LABELS.names], test)


def _write_csv(path: Path, columns: list[str], rows: Iterable[list[Any]]) -> None:
    pd.DataFrame(list(rows), columns=columns).to_csv(path, index=False)
