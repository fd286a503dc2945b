"""Puts hardware on the tasks of a pipeline when it is compiled."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.pipeline_context import Pipeline

from pipelines.conventions import (
    CONFIG_KEYS,
    CONFIG_MAP,
    POOL_LABEL,
    QUEUE_LABEL,
    RUN_LABEL,
    S3_KEYS,
    SECRETS,
    SHM_PATH,
    VOLUME_PATH,
)
from pipelines.hardware import Hardware, Profile, Provider
from pipelines.trainer.placing import across_nodes

# KFP's "max duration" becomes Argo's: the time after the first attempt's start, queueing included,
# after which Argo does not retry. KFP's default of an hour is shorter than any training.
_BACKOFF = {"backoff_factor": 1.5, "backoff_max_duration": "2592000s"}


def placed(graph: Any, profile: Profile, provider: Provider, image: str, code: str) -> Any:
    """Return a pipeline with hardware on each of its tasks.

    Args:
        graph: the KFP pipeline.
        image: of each task, name@sha256:...
        code: its version.

    The parameters `code` and `devices` are fixed, so the result does not have them.
    """
    function = graph.pipeline_func
    signature = inspect.signature(function)
    settled = {"code": code, "devices": profile.of("train").devices}
    fixed = {name: value for name, value in settled.items() if name in signature.parameters}

    @functools.wraps(function)
    def with_hardware(*arguments: Any) -> Any:
        outputs = function(**dict(zip(left, arguments, strict=True)), **fixed)
        for task in Pipeline.get_default_pipeline().tasks.values():
            if task.container_spec is not None:  # an importer has no pod of its own
                place(task, profile, provider, image, code)
        return outputs

    left = {key: value for key, value in signature.parameters.items() if key not in fixed}
    with_hardware.__signature__ = signature.replace(parameters=list(left.values()))  # type: ignore[attr-defined]
    return dsl.pipeline(name=graph.name, description=graph.description)(with_hardware)


def place(task: Any, profile: Profile, provider: Provider, image: str, code: str) -> None:
    """Put the hardware of its stage on a task."""
    stage = task.component_spec.name
    hardware = profile.of(stage)
    if hardware.nodes > 1:
        across_nodes(task, hardware)
    task.set_container_image(image)
    _resources(task, hardware)
    _nodes(task, hardware, provider)
    _failures(task, hardware)
    _environment(task, profile, stage, image, code)
    if profile.volume:
        kubernetes.mount_pvc(task, pvc_name=profile.volume, mount_path=VOLUME_PATH)


def _resources(task: Any, hardware: Hardware) -> None:
    task.set_cpu_request(hardware.cpu.request).set_cpu_limit(hardware.cpu.limit)
    task.set_memory_request(hardware.memory.request).set_memory_limit(hardware.memory.limit)
    if hardware.shm:
        kubernetes.empty_dir_mount(
            task, volume_name="shm", mount_path=SHM_PATH, medium="Memory", size_limit=hardware.shm
        )


def _nodes(task: Any, hardware: Hardware, provider: Provider) -> None:
    if hardware.gpu:
        task.set_accelerator_type(provider.gpu.resource)
        task.set_accelerator_limit(hardware.gpu.count)
    if hardware.pool:
        kubernetes.add_node_selector(task, POOL_LABEL, hardware.pool)
    for key, value in provider.labels(hardware).items():
        kubernetes.add_node_selector(task, key, value)
    for taint in provider.taints(hardware):
        kubernetes.add_toleration(
            task, key=taint.key, operator="Equal", value=taint.value, effect=taint.effect
        )
    if hardware.queue and hardware.nodes == 1:  # else the TrainJob queues
        kubernetes.add_pod_label(task, QUEUE_LABEL, hardware.queue)


def _failures(task: Any, hardware: Hardware) -> None:
    task.set_retry(hardware.retries, backoff_duration=f"{hardware.backoff_seconds}s", **_BACKOFF)
    kubernetes.set_timeout(task, 60 * hardware.timeout_minutes)


def _environment(task: Any, profile: Profile, stage: str, image: str, code: str) -> None:
    """Set the variables, which may hold the run's id because they are not in the cache key."""
    # Without a volume the home is a folder of the container and is lost with it.
    task.set_env_variable("RANZCR_HOME", f"{VOLUME_PATH if profile.volume else '/tmp'}/ranzcr")
    task.set_env_variable("RANZCR_IMAGE", image)
    task.set_env_variable("RANZCR_CODE", code)
    kubernetes.use_field_path_as_env(task, "KFP_RUN_ID", f"metadata.labels['{RUN_LABEL}']")
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, {key: key for key in CONFIG_KEYS})
    secrets = profile.secrets_of(stage)
    for secret in secrets:
        # A source or a server without passwords needs no secret.
        kubernetes.use_secret_as_env(
            task, secret, {key: key for key in SECRETS[secret]}, optional=True
        )
    if "ranzcr-s3" in secrets:
        kubernetes.use_config_map_as_env(
            task, CONFIG_MAP, {key: key for key in S3_KEYS}, optional=True
        )
    kubernetes.set_security_context(task, run_as_non_root=True)
