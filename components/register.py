from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def register(
    ensemble: dsl.Input[dsl.Model],
    blended: dsl.Input[dsl.Dataset],
    dataset: dsl.Input[dsl.Dataset],
    gates: str,
    candidate: dsl.Output[dsl.Artifact],
) -> str:
    """Judge the ensemble at the gates and register it as a candidate, whatever the verdict.

    Returns the verdict, "pass" or "fail". See ranzcr.stages.register.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import register as stage

    with one_line("register"):
        result = stage.run(
            Path(ensemble.path),
            Path(candidate.path),
            blend=Path(blended.path),
            dataset=Path(dataset.path),
            rules=stage.Rules.from_json(gates),
        )
    print(f"candidate {result.version}: gate {result.gate}", result.why)
    candidate.metadata.update(digest=result.digest, version=result.version)
    return result.gate
