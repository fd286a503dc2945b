from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def train(
    config: str,
    fold: str,
    dataset: dsl.Input[dsl.Dataset],
    dataset_digest: str,
    code: str,
    checkpoint: dsl.Output[dsl.Model],
    soft_labels: dsl.Input[dsl.Dataset] = None,
    soft_digest: str = "",
    devices: int = 1,
) -> str:
    """Train on every fold but `fold`; returns the checkpoint's digest. See ranzcr.stages.train."""
    from pathlib import Path

    from ranzcr.config import Experiment
    from ranzcr.errors import one_line
    from ranzcr.home import home
    from ranzcr.stages import train as stage

    with one_line("train"):
        experiment = Experiment.from_json(config)
        result = stage.run(
            experiment,
            Path(dataset.path),
            Path(checkpoint.path),
            fold=int(fold),
            soft_labels=Path(soft_labels.path) if soft_labels else None,
            resume=home() / "resume",
            devices=devices,
        )
    if not result.digest:
        raise SystemExit  # a helper process of several devices: only the first process reports
    checkpoint.metadata.update(digest=result.digest, experiment=experiment.name, fold=fold)
    return result.digest
