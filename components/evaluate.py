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
        if auc is not None:  # it is None if no label has both classes
            metrics.log_metric(f"cv_auc {experiment}", auc)
    Path(metrics.path).touch()  # kfp.local treats an output without a file as missing
    evaluation.metadata["digest"] = result.digest
    return result.digest
