from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def bundle(
    ensemble: dsl.Input[dsl.Model],
    ensemble_digest: str,
    blended: dsl.Input[dsl.Dataset],
    competition: dsl.Input[dsl.Dataset],
    champion_version: str,
    code: str,
    submission_bundle: dsl.Output[dsl.Artifact],
) -> str:
    """Pack the champion for an offline kernel and run it there; returns the bundle's digest.

    See ranzcr.stages.bundle.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import bundle as stage

    with one_line("bundle"):
        result = stage.run(
            Path(ensemble.path),
            Path(submission_bundle.path),
            competition=Path(competition.path),
            blend=Path(blended.path),
        )
    print(f"submission: {result.submission}")
    submission_bundle.metadata["digest"] = result.digest
    return result.digest
