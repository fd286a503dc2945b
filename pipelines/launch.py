"""What `ranzcr pipeline run` and `compile` do: check what was asked for, then hand it over."""

from __future__ import annotations

import importlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranzcr.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pipelines.local.processes import Machine

PIPELINES = ("competition", "first-stage", "second-stage", "predict", "promote", "nightly")
RUNNERS = ("subprocess", "docker")
_PROVIDER = "generic"  # where none is named


def run(
    name: str,
    *,
    overrides: Sequence[str] = (),
    parallel: int | None = None,
    runner: str = "subprocess",
    image: str | None = None,
    **given: Any,
) -> dict[str, Path]:
    """Run a pipeline on this machine, through kfp.local, with what finished before from the cache.

    Experiments, gates, data and MLflow are looked at before the first task starts. `given` are the
    pipeline's parameters; see `pipelines.request`. With the runner "docker" each task is a
    container of `image`.

    Returns what the pipeline made, by name. Raises ConfigError, DataError or TrackingError before
    it starts; PipelineError where a stage fails, or Docker does not answer.
    """
    from pipelines import places, request

    graph = pipeline(name)
    declared = request.declared(graph)
    arguments = request.check(name, declared, places.Here(), overrides, given)

    from ranzcr.home import home
    from ranzcr.tracking import server

    journal = server.identity()  # MLflow must answer before anything starts
    from pipelines import local

    parallel = parallel or (1 if shutil.which("nvidia-smi") else 2)
    machine = _machine(runner, image, request.folders(arguments), parallel)
    code = machine.code_version()
    os.environ["RANZCR_CODE"] = code  # for the journal: tasks inherit it
    keeping = _Keeping(graph)
    local.run(
        keeping,
        {**arguments, "code": code},
        # Results that are in another journal, or in one that was deleted, must be made again.
        root=home() / "pipelines" / journal,
        parallel=parallel,
        tasks=_once(graph) + 2 * request.trainings(declared, arguments),
        machine=machine,
    )
    return {what: Path(artifact.path) for what, artifact in keeping.outputs.items()}


def compile_to(
    name: str,
    output: Path,
    image: str | None,
    profile: str | None,
    provider: str | None = None,
) -> None:
    """Write the pipeline's KFP YAML to `output`, once `pipelines.lint` finds nothing in it.

    Args:
        image: what its components run in, name@sha256:...
        profile: hardware: a profile's name or YAML file.
        provider: labels and taints: a provider's name or YAML file; generic where None.

    Raises ConfigError for what is not known, an image that is not pinned, and for what lint finds.
    """
    graph = pipeline(name)
    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{output}: a compiled pipeline is YAML; name it with .yaml")
    code = _code(image)
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
    """The KFP pipeline of that name: pipelines/<name>.py holds a function of the same name."""
    if name not in PIPELINES:
        raise ConfigError(f"no pipeline {name!r}; {nearest(name, PIPELINES)}")
    word = name.replace("-", "_")
    return getattr(importlib.import_module(f"pipelines.{word}"), word)


class _Keeping:
    """A pipeline that keeps its outputs, which the runner does not hand back."""

    def __init__(self, graph: Callable[..., Any]) -> None:
        self._graph = graph
        self.outputs: Mapping[str, Any] = {}

    def __call__(self, **arguments: Any) -> None:
        self.outputs = self._graph(**arguments).outputs


def _once(graph: Any) -> int:
    """How many tasks a run has that are in no loop; in a loop are a train and a predict each."""
    spec = graph.pipeline_spec
    dags = [spec.root.dag, *(each.dag for each in spec.components.values())]
    tasks = [task for dag in dags for task in dag.tasks.values()]
    loops = [task for task in tasks if task.HasField("parameter_iterator")]
    executors = spec.deployment_spec["executors"]
    labels = [spec.components[task.component_ref.name].executor_label for task in tasks]
    pods = [label for label in labels if label and "container" in executors[label]]
    return len(pods) - 2 * len(loops)


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


def _code(image: str | None) -> str:
    """The first 16 digits of the image's digest: the version of all code in it."""
    found = re.fullmatch(r"[^\s@]+@sha256:([0-9a-f]{64})", image or "")
    if found is None:
        given = f"--image {image}: a tag can be moved to another image" if image else "give --image"
        raise ConfigError(f"{given}; name it by its digest, NAME@sha256: and 64 hex digits")
    return found[1][:16]
