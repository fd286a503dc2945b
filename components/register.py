from typing import NamedTuple

from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def register(
    ensemble: dsl.Input[dsl.Model],
    ensemble_digest: str,
    blended: dsl.Input[dsl.Dataset],
    dataset: dsl.Input[dsl.Dataset],
    min_auc: float,
    candidate: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("gate", str), ("version", str)]):  # type: ignore[valid-type]
    """Judge the blend at the gates and register it as a candidate, whatever the verdict.

    Returns the verdict ("pass" or "fail") and the candidate's version. See ranzcr.stages.register.
    """
    from collections import namedtuple
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import register as stage

    with one_line("register"):
        result = stage.run(
            Path(ensemble.path),
            Path(candidate.path),
            blend=Path(blended.path),
            dataset=Path(dataset.path),
            min_auc=min_auc,
        )
    candidate.metadata["digest"] = ensemble_digest
    return namedtuple("Outputs", ["gate", "version"])(result.gate, result.version)
