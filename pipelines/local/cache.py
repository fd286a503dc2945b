"""kfp's local cache, keyed by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kfp import dsl
from kfp.local import cache as kfp_cache

from pipelines.local.tasks import name_of, stage_of


class ContentCache(kfp_cache.LocalCache):
    """kfp's local cache, but an artifact counts by its type and digest, not by its path.

    Args:
        found: called with the name of each task that finished before.
        image: that tasks run in, where it is not the one that they name.
    """

    def __init__(self, cache_root: str, found: Callable[[str], None], image: str) -> None:
        super().__init__(cache_root)
        self._found = found
        self._image = image
        self._names: dict[str, str] = {}

    def compute_key(self, component_name, image, full_command, arguments, **rest) -> str:
        key = super().compute_key(
            stage_of(full_command),  # its component's name says where it stands in a pipeline
            self._image or image,
            full_command,
            _by_content(arguments),
            **rest,
        )
        self._names[key] = name_of(stage_of(full_command), _flat(arguments))
        return key

    def get(self, key: str) -> dict[str, Any] | None:
        outputs = super().get(key)
        if outputs is not None:
            self._found(self._names[key])
        return outputs


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A task's arguments, with the metadata of an artifact in its place."""
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
