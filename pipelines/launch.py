"""The commands `ranzcr pipeline run` and `compile`: check everything first, then start."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranzcr.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pipelines.code import Code
    from pipelines.lint import tree
    from pipelines.local.processes import Machine
    from pipelines.local.versions import Planned
    from ranzcr.config import Experiment

PIPELINES = ("competition", "first-stage", "second-stage", "predict", "promote", "nightly")
RUNNERS = ("subprocess", "docker")
_PROVIDER = "generic"  # the default
_LOCAL_CODE = "local"  # the value of the pipelines' parameter `code`, where each stage has its own


def run(
    name: str,
    *,
    overrides: Sequence[str] = (),
    parallel: int | None = None,
    runner: str = "subprocess",
    image: str | None = None,
    **values: Any,
) -> dict[str, Path]:
    """Run a pipeline on this machine through kfp.local; finished tasks come from the cache.

    Experiments, gates, data and MLflow are checked before the first task starts. `values` are by
    the names of `pipelines.options`. With the runner "docker" each task is a container of `image`.

    Returns the pipeline's outputs by name. Raises ConfigError, DataError or TrackingError before it
    starts; PipelineError if a stage fails, or Docker does not answer.
    """
    from pipelines import locations, request
    from pipelines.lint import tree

    graph = pipeline(name)
    spec = tree.of_graph(graph)
    location = locations.ThisMachine()
    arguments = request.check(name, spec.parameters, location, overrides, values)

    from pipelines import local
    from pipelines.local.versions import Versions
    from ranzcr.home import home
    from ranzcr.tracking import server

    # Each journal has a cache of its own, because cached results refer to runs in the journal.
    root = home() / "pipelines" / server.identity()  # fails if MLflow does not answer
    parallel = parallel or (1 if shutil.which("nvidia-smi") else 2)
    machine = _machine(runner, image, request.folders(arguments), parallel)
    experiments = request.experiments_of(arguments)
    settings = {experiment.name: experiment.config_hash for experiment in experiments}
    code_of = _code_of(machine, experiments, arguments)
    versions = Versions(code_of, settings, root / "code.json")
    planned = _planned(spec, list(settings), request.folds_of(spec.parameters, arguments))
    for line in versions.redone(planned):
        print(line, file=sys.stderr)
    with_outputs = _WithOutputs(graph)
    local.run(
        with_outputs,
        {**arguments, "code": _LOCAL_CODE},
        root=root,
        parallel=parallel,
        tasks=sum(tasks.count for tasks in planned),
        machine=machine,
        versions=versions,
    )
    return {key: Path(artifact.path) for key, artifact in with_outputs.outputs.items()}


def compile_to(
    name: str,
    output: Path,
    image: str | None,
    profile: str | None,
    provider: str | None = None,
) -> None:
    """Write the pipeline's KFP YAML to `output` if `pipelines.lint` finds nothing wrong in it.

    Args:
        image: of its components, name@sha256:...
        profile: hardware: a profile's name or YAML file.
        provider: labels and taints: a provider's name or YAML file; generic if None.

    Raises ConfigError for unknown names, an image that is not pinned, and for lint's findings.
    """
    graph = pipeline(name)
    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{output}: a compiled pipeline is YAML; name it with .yaml")
    code = _image_digest(image)
    from pipelines import hardware

    if profile is None:
        raise ConfigError(f"give --profile; known: {', '.join(hardware.profiles())}")
    chosen, nodes = hardware.profile(profile), hardware.provider(provider or _PROVIDER)
    from kfp import compiler

    from pipelines import lint, placement
    from ranzcr.files import replacing

    placed = placement.placed(graph, chosen, nodes, str(image), code)
    with replacing(output) as beside:
        compiler.Compiler().compile(placed, str(beside))
        lint.require_clean(beside, f"{name} with profile {profile}")


def pipeline(name: str) -> Any:
    """Return the KFP pipeline of that name: pipelines/<name>.py holds a function named alike."""
    if name not in PIPELINES:
        raise ConfigError(f"no pipeline {name!r}; {nearest(name, PIPELINES)}")
    word = name.replace("-", "_")
    return getattr(importlib.import_module(f"pipelines.{word}"), word)


class _WithOutputs:
    """A pipeline that keeps its outputs, which kfp.local's runner does not return."""

    def __init__(self, graph: Callable[..., Any]) -> None:
        self._graph = graph
        self.outputs: Mapping[str, Any] = {}

    def __call__(self, **arguments: Any) -> None:
        self.outputs = self._graph(**arguments).outputs


def _code_of(
    machine: Machine, experiments: Sequence[Experiment], arguments: Mapping[str, Any]
) -> Callable[[str, str], Code]:
    """Return the function that finds the code of a stage and an experiment."""
    from ranzcr import competitions
    from ranzcr.extensions import BLEND_METHODS, HEADS
    from ranzcr.files import hash_json

    competition = competitions.current().model_dump(mode="json", exclude={"about", "slug"})
    settings = {f"settings of {competition['name']}": hash_json(competition)[:16]}
    by_name = {experiment.name: experiment for experiment in experiments}
    method = arguments.get("blend_method")

    def code_of(stage: str, experiment: str) -> Code:
        """Find also the parts that the stage loads by name, such as a user's own head."""
        users = [by_name[experiment]] if experiment else experiments
        parts: list[Path] = []
        if stage == "train":
            parts = [source for used in users for source in used.extension_sources()]
        elif stage in ("predict", "export"):
            parts = [HEADS.source(used.model.head) for used in users]
        elif stage == "blend" and method:
            parts = [BLEND_METHODS.source(method)]
        return {**machine.code_of(stage, parts), **settings}

    return code_of


def _planned(spec: tree.Pipeline, experiments: Sequence[str], folds: int) -> Iterable[Planned]:
    """Return the tasks of a run in their order, those of a loop by experiment."""
    from pipelines.local.tasks import stage_of
    from pipelines.local.versions import Planned

    def siblings(task: tree.LintTask) -> list[str]:
        group = task.path.removesuffix(task.name)
        return [group + name for name in task.spec.get("dependentTasks", ())]

    by_path = sorted(spec.tasks, key=lambda task: task.path)  # protobuf has no order
    before = {task.path: sorted(siblings(task)) for task in by_path}
    order = list(TopologicalSorter(before).static_order())
    pods = sorted(
        spec.pods, key=lambda task: [order.index(step.path) for step in (*task.parents, task)]
    )
    planned: dict[tuple[str, str], Planned] = {}
    for task in pods:
        stage = stage_of(task.container["args"])
        cached = task.spec.get("cachingOptions", {}).get("enableCache", False)
        for experiment in experiments if task.loops else ("",):
            before = planned.get((stage, experiment))
            count = folds if task.loops else 1 + (before.count if before else 0)
            planned[stage, experiment] = Planned(stage, experiment, count, cached)
    return planned.values()


def _machine(runner: str, image: str | None, folders: Iterable[Path], parallel: int) -> Machine:
    if runner not in RUNNERS:
        raise ConfigError(f"--runner: no runner {runner!r}; {nearest(runner, RUNNERS)}")
    if runner == "subprocess":
        if image:
            raise ConfigError("--image is for --runner docker; leave it out, or add the runner")
        from pipelines.local.processes import Processes

        return Processes()
    if not image:
        raise ConfigError("--runner docker needs --image NAME:TAG; make images builds one")
    from pipelines.local.containers import Containers

    return Containers(image, data=folders, parallel=parallel)


def _image_digest(image: str | None) -> str:
    """Return the first 16 digits of the image's digest: the version of all code in it."""
    match = re.fullmatch(r"[^\s@]+@sha256:([0-9a-f]{64})", image or "")
    if match is None:
        problem = (
            f"--image {image}: a tag can be moved to another image" if image else "give --image"
        )
        raise ConfigError(f"{problem}; name it by its digest, NAME@sha256: and 64 hex digits")
    return match[1][:16]
