"""images -> folds -> first stage -> soft labels -> second stage -> blend -> gate -> champion."""

from kfp import dsl

from components.blend import blend
from components.bundle import bundle
from components.export import export
from components.promote import promote
from components.pseudo import pseudo
from components.register import register
from pipelines.parts import data_of, trained_on


@dsl.pipeline(name="competition", description=__doc__)
def competition(
    source: str,
    first: list[str],
    second: list[str],
    code: str,
    externals: list[str] = [],  # noqa: B006, KFP reads the default at compile time
    image_size: int = 1024,
    folds: int = 5,
    seed: int = 0,
    skip_bad: bool = False,
    blend_method: str = "weights",
    gates: str = "",
    devices: int = 1,
) -> None:
    """From a competition folder to a promoted ensemble and its offline submission bundle.

    Args:
        source: a folder, s3://bucket/prefix or kaggle:COMPETITION.
        first: experiments of the first stage, by name or as resolved JSON.
        second: experiments of the second stage, which learn from the first stage's soft labels.
        code: the code's version; with the digests it makes the cache key.
        externals: folders of unlabelled images.
        image_size: pixels per side of the image cache.
        folds: patient-grouped folds.
        seed: of the folds.
        skip_bad: continue without unreadable images.
        blend_method: weights, mean or subset.
        gates: settings of the gates, as JSON; if empty, the packaged ones.
        devices: GPUs of each training.
    """
    folder, data = data_of(
        source, externals, code, image_size=image_size, folds=folds, seed=seed, skip_bad=skip_bad
    )
    teachers, first_scored = trained_on(data, first, "first-stage", code, devices)
    soft_labels = pseudo(code=code, **teachers.predictions(), **data)
    students, second_scored = trained_on(
        data,
        second,
        "second-stage",
        code,
        devices,
        soft_labels=soft_labels.outputs["soft_labels"],
        soft_digest=soft_labels.outputs["Output"],
    )

    blended = blend(
        first_stage=first_scored.outputs["evaluation"],
        second_stage=second_scored.outputs["evaluation"],
        first_digest=first_scored.outputs["Output"],
        second_digest=second_scored.outputs["Output"],
        method=blend_method,
        code=code,
        **data,
    )
    exported = export(
        blended=blended.outputs["blended"],
        blend_digest=blended.outputs["Output"],
        first_stage=teachers.checkpoints(),
        second_stage=students.checkpoints(),
        first_digests=teachers.checkpoint_digests(),
        second_digests=students.checkpoint_digests(),
        code=code,
    )
    registered = register(
        ensemble=exported.outputs["ensemble"],
        blended=blended.outputs["blended"],
        dataset=data["dataset"],
        gates=gates,
    ).set_caching_options(False)

    # kfp.local resolves a condition only on a task's return value, not on a named output.
    with dsl.If(registered.outputs["Output"] == "pass", name="gate-passed"):
        promoted = promote(
            candidate=registered.outputs["candidate"], why="gates of the competition pipeline"
        ).set_caching_options(False)
        bundle(
            ensemble=exported.outputs["ensemble"],
            ensemble_digest=exported.outputs["Output"],
            blended=blended.outputs["blended"],
            competition=folder,
            champion_version=promoted.outputs["Output"],
            code=code,
        )
