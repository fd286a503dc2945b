"""The train task of a profile with several nodes: the same inputs, another body."""

from typing import Any

from kfp import dsl

from components import image
from pipelines.hardware import Hardware
from pipelines.trainer.settings import VARIABLE, TrainJobSettings

FIELD = dsl.TaskConfigField


@dsl.component(
    base_image=image.RANZCR,
    install_kfp_package=False,
    task_config_passthroughs=[
        FIELD.RESOURCES,
        FIELD.KUBERNETES_TOLERATIONS,
        FIELD.KUBERNETES_NODE_SELECTOR,
        FIELD.KUBERNETES_AFFINITY,
        # The task's own pod needs them too, for MLflow's settings and the shared volume.
        dsl.TaskConfigPassthrough(field=FIELD.ENV, apply_to_task=True),
        dsl.TaskConfigPassthrough(field=FIELD.KUBERNETES_VOLUMES, apply_to_task=True),
    ],
)
def train(
    config: str,
    fold: str,
    dataset: dsl.Input[dsl.Dataset],
    dataset_digest: str,
    code: str,
    checkpoint: dsl.Output[dsl.Model],
    task_config: dsl.TaskConfig,
    soft_labels: dsl.Input[dsl.Dataset] = None,
    soft_digest: str = "",
    devices: int = 1,
) -> str:
    """Train over several nodes by a TrainJob; returns the checkpoint's digest.

    See pipelines.trainer.task.
    """
    from pathlib import Path

    from pipelines.trainer import task
    from ranzcr.config import Experiment
    from ranzcr.errors import one_line

    with one_line("train"):
        experiment = Experiment.from_json(config)
        digest = task.run(
            experiment,
            Path(dataset.path),
            Path(checkpoint.path),
            fold=int(fold),
            dataset_digest=dataset_digest,
            soft_labels=Path(soft_labels.path) if soft_labels else None,
            soft_digest=soft_digest,
            devices=devices,
            task=task_config,
        )
    checkpoint.metadata.update(digest=digest, experiment=experiment.name, fold=fold)
    return digest


def across_nodes(task: Any, hardware: Hardware) -> None:
    """Turn a train task, before it is compiled, into one that creates a TrainJob.

    KFP then gives the hardware of the task to the nodes, not to the task's own pod.
    """
    ours = train.component_spec
    assert task.component_spec.name == ours.name, task.component_spec.name
    task.component_spec = ours
    task.container_spec.command = list(ours.implementation.container.command)
    settings = TrainJobSettings(
        nodes=hardware.nodes,
        shm=hardware.shm,
        queue=hardware.queue,
        timeout_seconds=60 * hardware.timeout_minutes,
    )
    task.set_env_variable(VARIABLE, settings.model_dump_json())
