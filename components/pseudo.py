from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def pseudo(
    predictions: dsl.Input[list[dsl.Dataset]],
    digests: list[str],
    dataset: dsl.Input[dsl.Dataset],
    dataset_digest: str,
    code: str,
    soft_labels: dsl.Output[dsl.Dataset],
) -> str:
    """Turn predictions into fold-matched soft labels; returns their digest.

    See ranzcr.stages.pseudo.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import pseudo as stage

    with one_line("pseudo"):
        result = stage.run(
            [Path(item.path) for item in predictions], Path(dataset.path), Path(soft_labels.path)
        )
    soft_labels.metadata["digest"] = result.digest
    return result.digest
