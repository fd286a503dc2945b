"""kfp's local cache, keyed by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kfp import dsl
from kfp.local import cache as kfp_cache

from pipelines.local.tasks import TaskName, stage_of
from pipelines.local.versions import Versions


class ContentCache(kfp_cache.LocalCache):
    """kfp's local cache, but an artifact counts by its type and digest, not by its path.

    The pipeline's parameter `code` counts as the version of the task's own code.

    Args:
        found: called with each task whose outputs are in the cache.
    """

    def __init__(
        self, cache_root: str, found: Callable[[TaskName], None], versions: Versions
    ) -> None:
        super().__init__(cache_root)
        self._found = found
        self._versions = versions
        self._names: dict[str, TaskName] = {}

    def compute_key(
        self,
        component_name: str,
        image: str,
        full_command: list[str],
        arguments: Mapping[str, Any],
        **rest: Any,
    ) -> str:
        stage = stage_of(full_command)
        name = TaskName.of(stage, _flat(arguments))
        code = self._versions.of_task(stage, name.experiment)
        # Not the component's name, which depends on the place of the task in its pipeline.
        content = {**_by_content(arguments), "code": code}
        key = super().compute_key(stage, image, full_command, content, **rest)
        self._names[key] = name
        return key

    def get(self, key: str) -> dict[str, Any] | None:
        outputs = super().get(key)
        if outputs is not None:
            self._found(self._names[key])
        return outputs


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a task, with an artifact's metadata in its place."""
    return {
        key: value.metadata if isinstance(value, dsl.Artifact) else value
        for key, value in arguments.items()
    }


def _by_content(value: Any) -> Any:
    if isinstance(value, dsl.Artifact):
        return {"type": value.schema_title, **value.metadata}
    if isinstance(value, list):
        return [_by_content(item) for item in value]
    if isinstance(value, dict):
        return {key: _by_content(item) for key, item in value.items()}
    return value
