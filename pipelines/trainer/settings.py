"""Settings of the nodes that KFP does not pass through."""

from __future__ import annotations

import os

import pydantic

VARIABLE = "RANZCR_TRAINJOB"  # an environment variable is not part of the cache key


class Settings(pydantic.BaseModel):
    """Of one training."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    nodes: int
    shm: str | None  # size of /dev/shm of each node
    queue: str | None  # a Kueue LocalQueue
    timeout_seconds: int  # of the training itself, without the wait in the queue


def read() -> Settings:
    """Read them from the environment of the compiled task."""
    return Settings.model_validate_json(os.environ[VARIABLE])
