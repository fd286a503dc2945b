from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def prepare(
    competition: dsl.Input[dsl.Dataset],
    competition_digest: str,
    image_size: int,
    folds: int,
    seed: int,
    skip_bad: bool,
    code: str,
    dataset: dsl.Output[dsl.Dataset],
) -> str:
    """Validate the folder, deal folds, fill the image cache; returns the data set's digest.

    See ranzcr.stages.prepare.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import prepare as stage

    with one_line("prepare"):
        result = stage.run(
            Path(competition.path),
            Path(dataset.path),
            size=image_size,
            folds=folds,
            seed=seed,
            skip_bad=skip_bad,
        )
    dataset.metadata["digest"] = result.digest
    return result.digest
