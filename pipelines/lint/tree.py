"""A compiled pipeline as a tree of tasks, with the origin of each input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ranzcr.errors import ConfigError

Problem = tuple[str, str]  # the place; the problem with its fix
Declared = Mapping[str, Mapping[str, Any]]  # name -> KFP's parameterType, defaultValue, isOptional
# The loader in C, if available, is ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

PARAMETER, OUTPUT, ITEM, CONSTANT = "parameter", "output", "item", "constant"


@dataclass(frozen=True)
class InputOrigin:
    """The origin of a value, followed through all groups.

    `what` is the pipeline's parameter, the key of a task's output or the value of a constant;
    `depth` is the number of loops around the task that produced it.
    """

    kind: str
    what: Any = None
    task: str = ""
    depth: int = 0


@dataclass(frozen=True)
class LintTask:
    """A task, or a group of tasks."""

    path: str  # first-stage/train
    spec: Mapping[str, Any]
    component: Mapping[str, Any]
    inputs: Mapping[str, InputOrigin]  # both parameters and artifacts
    loops: int  # the number of loops around it
    parents: tuple[LintTask, ...]
    executor: Mapping[str, Any] = field(default_factory=dict)  # its container
    platform: Mapping[str, Any] = field(default_factory=dict)  # what kfp-kubernetes adds

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def container(self) -> Mapping[str, Any]:
        return self.executor.get("container", {})

    @property
    def iterator(self) -> Mapping[str, Any]:
        """Return the iterator of a loop over parameters."""
        return self.spec.get("parameterIterator", {})

    @property
    def is_loop(self) -> bool:
        return "parameterIterator" in self.spec or "artifactIterator" in self.spec

    @property
    def condition(self) -> str:
        return self.spec.get("triggerPolicy", {}).get("condition", "")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Return its parameters as in the file."""
        return self.spec.get("inputs", {}).get("parameters", {})

    @property
    def constants(self) -> Mapping[str, Any]:
        """Return the inputs with constant values."""
        return {
            name: origin.what for name, origin in self.inputs.items() if origin.kind == CONSTANT
        }


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline: `spec` is the first document of its file, `platform` the second."""

    spec: Mapping[str, Any]
    platform: Mapping[str, Any]

    @property
    def parameters(self) -> Declared:
        """Return the parameters of the whole pipeline."""
        return self.spec["root"].get("inputDefinitions", {}).get("parameters", {})

    @cached_property
    def tasks(self) -> tuple[LintTask, ...]:
        """Return all tasks and groups, each group before its tasks."""
        outer = {name: InputOrigin(PARAMETER, name) for name in self.parameters}
        return tuple(self._below(self.spec["root"], outer, ()))

    @property
    def pods(self) -> tuple[LintTask, ...]:
        """Return the tasks that run a container."""
        return tuple(task for task in self.tasks if task.container)

    def _below(
        self,
        group: Mapping[str, Any],
        outer: Mapping[str, InputOrigin],
        parents: tuple[LintTask, ...],
    ) -> Iterator[LintTask]:
        for name, spec in group["dag"]["tasks"].items():
            task = self._task(name, spec, outer, parents)
            yield task
            if "dag" in task.component:
                inner = dict(task.inputs)
                item = task.iterator.get("itemInput")
                if item:
                    inner[item] = InputOrigin(ITEM, task=task.path, depth=task.loops + 1)
                yield from self._below(task.component, inner, (*parents, task))

    def _task(
        self,
        name: str,
        spec: Mapping[str, Any],
        outer: Mapping[str, InputOrigin],
        parents: tuple[LintTask, ...],
    ) -> LintTask:
        component = self.spec.get("components", {}).get(spec["componentRef"]["name"], {})
        loops = sum(parent.is_loop for parent in parents)
        declared = spec.get("inputs", {})
        inputs = {
            key: _origin(value, outer, loops)
            for part in ("parameters", "artifacts")
            for key, value in declared.get(part, {}).items()
        }
        label = component.get("executorLabel", "")
        return LintTask(
            "/".join([*(parent.name for parent in parents), name]),
            spec,
            component,
            inputs,
            loops,
            parents,
            self.spec.get("deploymentSpec", {}).get("executors", {}).get(label, {}),
            self.platform.get("deploymentSpec", {}).get("executors", {}).get(label, {}),
        )


def of_graph(graph: Any) -> Pipeline:
    """Return a KFP pipeline that is not compiled yet."""
    from google.protobuf.json_format import MessageToDict

    return Pipeline(MessageToDict(graph.pipeline_spec), {})


def read(file: Path) -> Pipeline:
    """Read a compiled pipeline. Raises ConfigError if `file` is missing or is not one."""
    try:
        documents = list(yaml.load_all(file.read_text(encoding="utf-8"), _LOADER))
        spec = documents[0]
        platform = documents[1]["platforms"]["kubernetes"] if len(documents) > 1 else {}
        pipeline = Pipeline(spec, platform)
        assert pipeline.spec["pipelineInfo"]["name"]
        assert pipeline.spec["deploymentSpec"] is not None
        assert pipeline.tasks
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; make one with ranzcr pipeline compile") from None
    except (yaml.YAMLError, LookupError, TypeError, AttributeError,
            AssertionError, ValueError):  # fmt: skip
        raise ConfigError(
            f"{file}: not a compiled pipeline; make one with ranzcr pipeline compile"
        ) from None
    return pipeline


def _origin(value: Mapping[str, Any], outer: Mapping[str, InputOrigin], loops: int) -> InputOrigin:
    """Return the origin of an input of a task."""
    constant = value.get("runtimeValue", {})
    if "constant" in constant:
        return InputOrigin(CONSTANT, constant["constant"])
    for kind in ("Parameter", "Artifact"):
        output = value.get(f"taskOutput{kind}")
        if output:
            key = output.get("outputParameterKey") or output.get("outputArtifactKey")
            return InputOrigin(OUTPUT, key, output["producerTask"], loops)
        group_input = value.get(f"componentInput{kind}")
        if group_input:
            return outer.get(group_input, InputOrigin(PARAMETER, group_input))
    return InputOrigin(CONSTANT)
