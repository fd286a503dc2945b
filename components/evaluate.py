from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def evaluate(
    predictions: dsl.Input[list[dsl.Dataset]],
    digests: list[str],
    dataset: dsl.Input[dsl.Dataset],
    dataset_digest: str,
    code: str,
    evaluation: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Score each experiment on its out-of-fold predictions; returns the evaluation's digest.

    See ranzcr.stages.evaluate.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import evaluate as stage

    with one_line("evaluate"):
        result = stage.run(
            [Path(item.path) for item in predictions], Path(dataset.path), Path(evaluation.path)
        )
    for experiment, auc in result.cv.items():
        print(f"{experiment}: cv_auc {auc}")
        if auc is not None:  # a label without both classes has none
            metrics.log_metric(f"cv_auc {experiment}", auc)
    Path(metrics.path).touch()  # kfp.local takes an output without a file for lost
    evaluation.metadata["digest"] = result.digest
    return result.digest
