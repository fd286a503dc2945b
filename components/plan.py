from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def plan(
    experiments: list[str],
    dataset: dsl.Input[dsl.Dataset],
    dataset_digest: str,
    code: str,
    soft_labels: dsl.Input[dsl.Dataset] = None,
    soft_digest: str = "",
) -> list[dict]:  # type: ignore[type-arg]  # KFP knows only the plain type
    """List one item per experiment and fold, for ParallelFor. See ranzcr.stages.plan."""
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import plan as stage

    with one_line("plan"):
        return stage.run(
            experiments,
            Path(dataset.path),
            soft_labels=Path(soft_labels.path) if soft_labels else None,
            code=code,
        )
