"""How many cores we may use: a container's share, where there is one, not the whole machine's."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may keep busy: by its affinity and its container's CPU limit."""
    from joblib import cpu_count

    return cpu_count()


def threads() -> int:
    """For a library that counts the machine's cores by itself: how many threads, 0 for its own way.

    Torch and ONNX Runtime know nothing of a container's limit: on 64 cores of which 4 are ours they
    start 64 threads, which wait for each other.
    """
    ours = cores()
    return ours if ours < (os.cpu_count() or 1) else 0


def limit_torch() -> None:
    """Keep torch within our cores; OMP_NUM_THREADS, where it is set, has decided already."""
    import torch

    if threads() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads())
