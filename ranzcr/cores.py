"""The number of cores this process may use, which in a container is its share of the machine."""

from __future__ import annotations

import os


def cores() -> int:
    """Return the cores that the process's affinity and the container's CPU limit leave us."""
    from joblib import cpu_count

    return int(cpu_count())


def threads() -> int:
    """Return the number of threads to set in torch and ONNX Runtime; 0 keeps their default.

    Both ignore a container's CPU limit: with a share of 4 cores on a machine of 64 they start 64
    threads, which wait for each other.
    """
    usable = cores()
    return usable if usable < (os.cpu_count() or 1) else 0


def limit_torch() -> None:
    """Limit torch to the usable cores, unless OMP_NUM_THREADS has set the number."""
    import torch

    if threads() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads())
