"""Validate TrainJobs with Kubeflow's models: Trainer has no field that they drop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kubeflow_trainer_api import models
from pydantic import ValidationError


def problems(job: dict[str, Any]) -> list[str]:
    """Return the problems of a TrainJob: wrong types, missing and unknown fields."""
    try:
        parsed = models.TrainerV1alpha1TrainJob.from_dict(job).to_dict()
    except ValidationError as error:
        return [f"{error.title} {detail['loc'][0]}: {detail['msg']}" for detail in error.errors()]
    return list(_dropped(job, parsed, "$"))


def _dropped(value: Any, kept: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key in value.keys() - kept.keys():
            if value[key] is not None:  # None is as good as absent
                yield f"{path}.{key}: unknown"
        for key in value.keys() & kept.keys():
            yield from _dropped(value[key], kept[key], f"{path}.{key}")
    elif isinstance(value, list):
        for number, (item, kept_item) in enumerate(zip(value, kept, strict=True)):
            yield from _dropped(item, kept_item, f"{path}.{number}")
    elif value != kept:
        yield f"{path}: {value!r} is read as {kept!r}"
