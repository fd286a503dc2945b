from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def blend(
    first_stage: dsl.Input[dsl.Dataset],
    second_stage: dsl.Input[dsl.Dataset],
    first_digest: str,
    second_digest: str,
    dataset: dsl.Input[dsl.Dataset],
    dataset_digest: str,
    method: str,
    code: str,
    blended: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Find weights on the out-of-fold predictions of both stages; returns the blend's digest.

    See ranzcr.stages.blend.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import blend as stage

    with one_line("blend"):
        result = stage.run(
            [Path(first_stage.path), Path(second_stage.path)],
            Path(dataset.path),
            Path(blended.path),
            method=method,
        )
    print(f"blend: cross-fitted cv_auc {result.cv_auc}")
    if result.cv_auc is not None:  # it is None if no label has both classes
        metrics.log_metric("cv_auc", result.cv_auc)
    Path(metrics.path).touch()  # kfp.local treats an output without a file as missing
    blended.metadata["digest"] = result.digest
    return result.digest
