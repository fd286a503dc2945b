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

_LOADER = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # in C, because our pipelines have 100 kB and more


@dataclass(frozen=True)
class Package:
    """The output of `ranzcr pipeline compile`: one or two YAML documents."""

    text: str

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Return KFP's PipelineSpec, the first document."""
        return next(yaml.load_all(self.text, _LOADER))

    @property
    def name(self) -> str:
        """Return the name of the pipeline."""
        return self.spec["pipelineInfo"]["name"]

    @property
    def version(self) -> str:
        """Return a name that depends only on the content, on any machine."""
        return f"{self.name}-{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Return KFP's parameterType, defaultValue, isOptional and description by name."""
        return self.spec["root"].get("inputDefinitions", {}).get("parameters", {})

    @property
    def images(self) -> list[str]:
        """Return the images of its components, each once."""
        executors = self.spec["deploymentSpec"].get("executors", {}).values()
        return sorted({item["container"]["image"] for item in executors if "container" in item})


def load(what: str, image: str | None, profile: str | None, provider: str | None) -> Package:
    """Load the package in a YAML file, or compile one of our pipelines.

    Args:
        what: FILE.yaml or the name of a pipeline.
        image: of its components, pinned by digest.
        profile: hardware.
        provider: labels and taints of the nodes. All three are only for the name of a pipeline.

    Raises ConfigError for unknown names, and for the first finding of lint.
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
    """Return the name of the pipeline in a YAML file, or `what` itself if it is a name."""
    return tree.read(Path(what)).spec["pipelineInfo"]["name"] if _is_file(what) else what


def _is_file(what: str) -> bool:
    return what.endswith((".yaml", ".yml"))


def _compiled(name: str, image: str | None, profile: str | None, provider: str | None) -> Package:
    from pipelines import launch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        launch.compile_to(name, path, image, profile, provider)
        return Package(path.read_text(encoding="utf-8"))
