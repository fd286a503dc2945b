from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def monitor(
    ensemble: dsl.Input[dsl.Model],
    ensemble_digest: str,
    blended: dsl.Input[dsl.Dataset],
    candidate: dsl.Input[dsl.Artifact],
    dataset: dsl.Input[dsl.Dataset],
    dataset_digest: str,
    code: str,
    report: dsl.Output[dsl.Artifact],
) -> str:
    """Compare a data set with that of a model's training, and score the model on it.

    Fails if something is beyond its limit, so that the poller sends a notification. Returns the
    digest of the report. See ranzcr.stages.monitor.
    """
    from pathlib import Path

    from ranzcr.errors import DataError, one_line
    from ranzcr.stages import monitor as stage

    with one_line("monitor"):
        result = stage.run(
            Path(ensemble.path),
            Path(report.path),
            blend=Path(blended.path),
            dataset=Path(dataset.path),
            candidate=Path(candidate.path),
        )
        if result.findings:
            raise DataError("; ".join(result.findings))
    report.metadata["digest"] = result.digest
    return result.digest
