from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def fetch(
    version: str,
    ensemble: dsl.Output[dsl.Model],
    blended: dsl.Output[dsl.Dataset],
    candidate: dsl.Output[dsl.Artifact],
    digest: dsl.OutputPath(str),  # type: ignore[valid-type]
    image_size: dsl.OutputPath(int),  # type: ignore[valid-type]
) -> str:
    """Fetch a registered version; returns how its gates count now, "pass" or "fail".

    See ranzcr.stages.fetch.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import fetch as stage

    with one_line("fetch"):
        result = stage.run(version, Path(ensemble.path), Path(blended.path), Path(candidate.path))
    fetched = result.candidate
    print(f"candidate {fetched.version}: gate {fetched.gate}", fetched.why)
    for artifact in (ensemble, blended, candidate):
        artifact.metadata["digest"] = fetched.digest
    Path(digest).write_text(fetched.digest)
    Path(image_size).write_text(str(result.image_size))
    return fetched.gate
