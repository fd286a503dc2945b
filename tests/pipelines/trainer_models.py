"""Kubeflow's models as a judge of TrainJobs: a field that they drop is one that Trainer lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kubeflow_trainer_api import models
from pydantic import ValidationError


def problems(job: dict[str, Any]) -> list[str]:
    """What is wrong with a TrainJob: wrong types, missing and unknown fields."""
    try:
        known = models.TrainerV1alpha1TrainJob.from_dict(job).to_dict()
    except ValidationError as error:
        return [f"{error.title} {it['loc'][0]}: {it['msg']}" for it in error.errors()]
    return list(_dropped(job, known, "$"))


def _dropped(given: Any, kept: Any, path: str) -> Iterator[str]:
    if isinstance(given, dict):
        for key in given.keys() - kept.keys():
            if given[key] is not None:  # None is as good as absent
                yield f"{path}.{key}: unknown"
        for key in given.keys() & kept.keys():
            yield from _dropped(given[key], kept[key], f"{path}.{key}")
    elif isinstance(given, list):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _dropped(one, other, f"{path}.{number}")
    elif given != kept:
        yield f"{path}: {given!r} is taken for {kept!r}"
