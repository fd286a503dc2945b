from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def ingest(
    source: str, externals: list[str], images: bool, competition: dsl.Output[dsl.Dataset]
) -> str:
    """Fetch a competition folder, or only images; returns the digest of their content.

    See ranzcr.stages.ingest.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import ingest as stage

    with one_line("ingest"):
        result = stage.run(source, Path(competition.path), externals=externals, images=images)
    competition.metadata["digest"] = result.digest
    return result.digest
