"""A compiled pipeline, named by its content."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from pipelines import lint
from pipelines.lint import tree
from ranzcr.errors import ConfigError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # our pipelines are 100 kB and more


@dataclass(frozen=True)
class Package:
    """What `ranzcr pipeline compile` writes: one or two YAML documents."""

    text: str

    @cached_property
    def spec(self) -> dict[str, Any]:
        """KFP's PipelineSpec, the first document."""
        return next(yaml.load_all(self.text, _LOADER))

    @property
    def name(self) -> str:
        """Of the pipeline."""
        return self.spec["pipelineInfo"]["name"]

    @property
    def version(self) -> str:
        """The name of this content: the same content, the same version, on any machine."""
        return f"{self.name}-{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Name -> KFP's parameterType, defaultValue, isOptional, description."""
        return self.spec["root"].get("inputDefinitions", {}).get("parameters", {})

    @property
    def images(self) -> list[str]:
        """What its components run in, each once."""
        executors = self.spec["deploymentSpec"].get("executors", {}).values()
        return sorted({one["container"]["image"] for one in executors if "container" in one})


def load(what: str, image: str | None, profile: str | None, provider: str | None) -> Package:
    """The package in a YAML file, or of a pipeline of ours, which is compiled first.

    Args:
        what: FILE.yaml or the name of a pipeline.
        image: what its components run in, pinned by digest.
        profile: hardware.
        provider: whose cluster it is. All three are for a name alone.

    Raises ConfigError for what is not known, and for the first thing that lint finds.
    """
    if not _is_file(what):
        return _compiled(what, image, profile, provider)
    if image or profile or provider:
        raise ConfigError(
            f"{what} is compiled already; give --image, --profile and --provider with a name"
        )
    path = Path(what)
    lint.require_clean(path, what)
    return Package(path.read_text(encoding="utf-8"))


def name_of(what: str) -> str:
    """The name of the pipeline in a YAML file; a name is its own."""
    return tree.read(Path(what)).spec["pipelineInfo"]["name"] if _is_file(what) else what


def _is_file(what: str) -> bool:
    return what.endswith((".yaml", ".yml"))


def _compiled(name: str, image: str | None, profile: str | None, provider: str | None) -> Package:
    from pipelines import launch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        launch.compile_to(name, path, image, profile, provider)
        return Package(path.read_text(encoding="utf-8"))
