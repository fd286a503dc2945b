from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def export(
    blended: dsl.Input[dsl.Dataset],
    blend_digest: str,
    first_stage: dsl.Input[list[dsl.Model]],
    second_stage: dsl.Input[list[dsl.Model]],
    first_digests: list[str],
    second_digests: list[str],
    code: str,
    ensemble: dsl.Output[dsl.Model],
) -> str:
    """Export every weighted member to ONNX and check it against torch; returns the digest.

    See ranzcr.stages.export.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import export as stage

    checkpoints = [Path(item.path) for item in [*first_stage, *second_stage]]
    with one_line("export"):
        result = stage.run(Path(blended.path), checkpoints, Path(ensemble.path))
    ensemble.metadata["digest"] = result.digest
    return result.digest
