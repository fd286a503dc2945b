"""TrainJobSettings of the nodes that KFP does not pass through."""

from __future__ import annotations

import os

import pydantic

VARIABLE = "RANZCR_TRAINJOB"  # an environment variable is not part of the cache key


class TrainJobSettings(pydantic.BaseModel):
    """Of one training."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    nodes: int
    shm: str | None  # size of /dev/shm of each node
    queue: str | None  # a Kueue LocalQueue
    timeout_seconds: int  # of the training itself, without the wait in the queue


def read() -> TrainJobSettings:
    """Read them from the environment of the compiled task."""
    return TrainJobSettings.model_validate_json(os.environ[VARIABLE])
