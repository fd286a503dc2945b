"""images -> folds -> first-stage experiments in the journal -> soft labels."""

from typing import NamedTuple

from kfp import dsl

from components.pseudo import pseudo
from pipelines.parts import data_of, trained_on


class FirstStageOutputs(NamedTuple):
    """The inputs of second-stage."""

    dataset: dsl.Dataset
    soft_labels: dsl.Dataset


@dsl.pipeline(name="first-stage", description=__doc__)
def first_stage(
    source: str,
    first: list[str],
    code: str,
    externals: list[str] = [],  # noqa: B006, KFP reads the default at compile time
    image_size: int = 1024,
    folds: int = 5,
    seed: int = 0,
    skip_bad: bool = False,
    devices: int = 1,
) -> FirstStageOutputs:
    """Train and score experiments that learn from hard labels.

    Args:
        source: a folder, s3://bucket/prefix or kaggle:COMPETITION.
        first: experiments, by name or as resolved JSON.
        code: the code's version; with the digests it makes the cache key.
        externals: folders of unlabelled images.
        image_size: pixels per side of the image cache.
        folds: patient-grouped folds.
        seed: of the folds.
        skip_bad: continue without unreadable images.
        devices: GPUs of each training.
    """
    _, data = data_of(
        source, externals, code, image_size=image_size, folds=folds, seed=seed, skip_bad=skip_bad
    )
    loop, _ = trained_on(data, first, "first-stage", code, devices)
    soft_labels = pseudo(code=code, **loop.predictions(), **data)
    return FirstStageOutputs(data["dataset"], soft_labels.outputs["soft_labels"])
