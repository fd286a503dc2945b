"""Rules on the resources, time limits and images of pods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipelines.conventions import QUEUE_LABEL, SHM_PATH
from pipelines.lint.tree import LintTask, Pipeline, Problem
from pipelines.trainer.settings import VARIABLE, TrainJobSettings

_NEEDED = {  # as KFP's compiler calls them
    "a CPU request": "resourceCpuRequest",
    "a CPU limit": "resourceCpuLimit",
    "a memory request": "resourceMemoryRequest",
    "a memory limit": "resourceMemoryLimit",
}


def unpinned_image(pipeline: Pipeline) -> Iterator[Problem]:
    """A tag can be moved, and the cache would return results of another image."""
    for task in pipeline.pods:
        image = task.container.get("image", "")
        if not re.fullmatch(r"[^\s@]+@sha256:[0-9a-f]{64}", image):
            yield task.path, f"image {image or 'none'}; name it by digest, NAME@sha256:..."


def no_resources(pipeline: Pipeline) -> Iterator[Problem]:
    """Such a pod is scheduled anywhere and evicted first."""
    for task in pipeline.pods:
        missing = [what for what, key in _NEEDED.items() if not _resources(task).get(key)]
        if missing:
            yield task.path, f"lacks {', '.join(missing)}; give its stage hardware in the profile"


def gpu_without_shm(pipeline: Pipeline) -> Iterator[Problem]:
    """DataLoader workers pass batches in /dev/shm, of which a container has 64 MB by default."""
    for task in _with_gpu(pipeline):
        mounts = task.platform.get("emptyDirMounts", ())
        if not any(
            mount.get("mountPath") == SHM_PATH and mount.get("medium") == "Memory"
            for mount in mounts
        ):
            yield task.path, "a GPU without /dev/shm in memory; give it shm in the profile"


def gpu_without_toleration(pipeline: Pipeline) -> Iterator[Problem]:
    """GPU nodes are tainted, so that other pods do not fill them."""
    for task in _with_gpu(pipeline):
        if not task.platform.get("tolerations"):
            yield task.path, "a GPU without a toleration; name the taints in the provider"


def gpu_without_timeout(pipeline: Pipeline) -> Iterator[Problem]:
    """A training that hangs would hold its GPU forever."""
    for task in _with_gpu(pipeline):
        if not _timeout(task):
            yield task.path, "a GPU without a timeout; give it timeout_minutes in the profile"


def gpu_without_queue(pipeline: Pipeline) -> Iterator[Problem]:
    """Kueue neither counts nor orders pods without a queue."""
    for task in _with_gpu(pipeline):
        if not _queue(task):
            yield task.path, "a GPU without a Kueue queue; give it a queue in the profile"


def retries_end_early(pipeline: Pipeline) -> Iterator[Problem]:
    """Argo stops retrying that long after the first start."""
    for task in pipeline.pods:
        retries = task.spec.get("retryPolicy", {})
        window = float(retries.get("backoffMaxDuration", "0").rstrip("s"))
        if retries.get("maxRetryCount") and window <= _timeout(task):
            yield (
                task.path,
                f"no retry after {window:.0f} s (backoff_max_duration), but it may take "
                f"{_timeout(task)} s; make it many times longer",
            )


RULES = (
    unpinned_image,
    no_resources,
    gpu_without_shm,
    gpu_without_toleration,
    gpu_without_timeout,
    gpu_without_queue,
    retries_end_early,
)


def _resources(task: LintTask) -> dict[str, Any]:
    return task.container.get("resources", {})


def _timeout(task: LintTask) -> int:
    """Return the time limit in seconds; 0 if there is none."""
    return int(task.platform.get("activeDeadlineSeconds", 0))


def _queue(task: LintTask) -> str | None:
    """Return the queue of the pod, or of the TrainJob that gets its hardware."""
    variables = {item["name"]: item.get("value") for item in task.container.get("env", ())}
    if VARIABLE in variables:
        return TrainJobSettings.model_validate_json(variables[VARIABLE]).queue
    return task.platform.get("podMetadata", {}).get("labels", {}).get(QUEUE_LABEL)


def _with_gpu(pipeline: Pipeline) -> Iterator[LintTask]:
    for task in pipeline.pods:
        accelerator = _resources(task).get("accelerator", {})
        if accelerator.get("resourceCount") or accelerator.get("count"):
            yield task
