"""Graphs that compile but then run wrongly, mostly silently (kfp 2.17)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.lint.tree import ITEM, OUTPUT, PARAMETER, LintTask, Pipeline, Problem

_KEYS = {"name", "value", "full_name", "task_name", "channel_type", "pattern"}  # kfp's own
_COMPARED = re.compile(r"inputs\.parameter_values\['([^']+)'\]\s*(?:[=!<>]=?)\s*('?)([^'\s)]*)")
_EVEN_AFTER_FAILURE = "ALL_UPSTREAM_TASKS_COMPLETED"  # a task that runs even if they failed
_RUN_IDS = re.compile(r"\{\{\$\.pipeline_(job|task)_")
_TYPES = {"String", "Integer", "Float", "Boolean", "List", "Dict"}  # as kfp names them


def nested_loop(pipeline: Pipeline) -> Iterator[Problem]:
    """The local runner gives an inner loop wrong values."""
    for task in pipeline.tasks:
        if task.is_loop and task.loops:
            yield task.path, "a loop within a loop; let one plan list all pairs, and loop over it"


def outer_output_in_loop(pipeline: Pipeline) -> Iterator[Problem]:
    """The local runner replaces a scalar of a task outside the loop by the loop's item."""
    for task in pipeline.pods:
        for name in task.parameters:
            origin = task.inputs[name]
            if origin.kind == OUTPUT and origin.depth < task.loops:
                yield (
                    task.path,
                    f"{name} is output {origin.what} of {origin.task}, which is outside the loop; "
                    "put it into the loop's items",
                )


def loop_over_artifacts(pipeline: Pipeline) -> Iterator[Problem]:
    """KFP does not implement it on a cluster."""
    for task in pipeline.tasks:
        if "artifactIterator" in task.spec:
            yield task.path, "a loop over artifacts; loop over what names them"


def loop_in_exit_handler(pipeline: Pipeline) -> Iterator[Problem]:
    """It is reported as broken on a cluster."""
    for task in pipeline.tasks:
        if task.is_loop and any(_is_exit_handler(parent) for parent in task.parents):
            yield task.path, "a loop within an exit handler; remove the handler"


def empty_loop(pipeline: Pipeline) -> Iterator[Problem]:
    """Collecting the outputs of a loop that had no item fails."""
    for task in pipeline.tasks:
        items = task.iterator.get("items", {})
        origin = task.inputs.get(items.get("inputParameter", ""))
        if json.loads(items.get("raw", "null")) == []:
            yield task.path, "a loop over nothing; remove it"
        elif (
            origin
            and origin.kind == PARAMETER
            and pipeline.parameters.get(origin.what, {}).get("defaultValue") == []
        ):
            yield (
                task.path,
                f"a loop over parameter {origin.what}, which is [] by default; remove the default",
            )


def loop_key(pipeline: Pipeline) -> Iterator[Problem]:
    """`item.name` is not the item's key: kfp's own attributes of that name come first."""
    for task in pipeline.tasks:
        raw = task.iterator.get("items", {}).get("raw")
        items = json.loads(raw) if raw else []
        for key in sorted({key for item in items if isinstance(item, dict) for key in item}):
            if key in _KEYS:
                yield task.path, f"its items have a key {key!r}, which kfp reserves; rename it"
        for name, value in task.constants.items():
            if task.loops and isinstance(value, str) and value in _attributes(task):
                yield (
                    task.path,
                    f"{name} is the text {value!r}, not a value of the item; no key of an item may "
                    f"be one of {', '.join(sorted(_KEYS))}",
                )


def loop_item_number(pipeline: Pipeline) -> Iterator[Problem]:
    """An item is compared as text, so that it never equals a number."""
    for task, origin, quote, value in _compared(pipeline):
        if origin.kind == ITEM and (not quote or re.fullmatch(r"-?\d+(\.\d+)?", value)):
            yield (
                task.path,
                f"compares an item with the number {value}, which is never true; let plan "
                "return a word instead, and compare with that",
            )


def condition_on_named_output(pipeline: Pipeline) -> Iterator[Problem]:
    """The local runner cannot resolve it, and treats it as false."""
    for task, origin, _, _ in _compared(pipeline):
        if origin.kind == OUTPUT and origin.what != "Output":
            yield (
                task.path,
                f"compares output {origin.what} of {origin.task}; let the task return "
                "this value alone, without a name",
            )


def none_default(pipeline: Pipeline) -> Iterator[Problem]:
    """The local runner crashes on a parameter that is None."""
    for name, declared in pipeline.parameters.items():
        if declared.get("isOptional") and "defaultValue" not in declared:
            yield f"parameter {name}", 'is None by default; give it a value, such as ""'


def one_of_artifacts(pipeline: Pipeline) -> Iterator[Problem]:
    """The local runner cannot return it."""
    root = pipeline.spec["root"]
    for name in root["dag"].get("outputs", {}).get("artifacts", {}):
        if _sources(pipeline, root, name) > 1:
            yield f"output {name}", "is one of several artifacts; return a parameter instead"


def after_only(pipeline: Pipeline) -> Iterator[Problem]:
    """Order alone is not enough, because a task that failed may be reported as done."""
    for task in pipeline.tasks:
        if task.spec.get("triggerPolicy", {}).get("strategy") == _EVEN_AFTER_FAILURE:
            continue
        read = set(_producers(task))
        for before in task.spec.get("dependentTasks", ()):
            if before not in read:
                yield (
                    task.path,
                    f"runs after {before} but reads none of its outputs; pass it one of them",
                )


def python3_in_text(pipeline: Pipeline) -> Iterator[Problem]:
    """The local runner replaces it by the interpreter's path."""
    for where, text in _texts(pipeline):
        if "python3" in text:
            yield where, "the text python3 is rewritten; write python"


def number_in_list(pipeline: Pipeline) -> Iterator[Problem]:
    """A whole number in a list or a mapping arrives as a float."""
    for task in pipeline.tasks:
        for name, value in task.constants.items():
            if isinstance(value, (list, dict)) and _has_number(value):
                yield task.path, f"{name} holds a whole number, which arrives as a float; quote it"
        raw = task.iterator.get("items", {}).get("raw")
        if raw and _has_number(json.loads(raw)):
            yield task.path, "its items hold a whole number, which arrives as a float; quote it"
    for name, declared in pipeline.parameters.items():
        value = declared.get("defaultValue")
        if isinstance(value, (list, dict)) and _has_number(value):
            yield f"parameter {name}", "holds a whole number, which arrives as a float; quote it"


def container_component(pipeline: Pipeline) -> Iterator[Problem]:
    """The local runner of processes only runs Python functions."""
    for task in pipeline.pods:
        if "--function_to_execute" not in task.container.get("args", ()):
            yield task.path, "runs a command of its own image; make it a component of components/"
        elif not any("ephemeral_component" in word for word in task.container.get("command", ())):
            yield task.path, "has its function in its image; leave target_image out"


def run_id_as_input(pipeline: Pipeline) -> Iterator[Problem]:
    """It differs in each run, so that nothing comes from the cache."""
    for task in pipeline.tasks:
        for name, value in task.constants.items():
            if isinstance(value, str) and _RUN_IDS.search(value):
                yield task.path, f"{name} is the run's own id; give it as a variable (KFP_RUN_ID)"


RULES = (
    nested_loop,
    outer_output_in_loop,
    loop_over_artifacts,
    loop_in_exit_handler,
    empty_loop,
    loop_key,
    loop_item_number,
    condition_on_named_output,
    none_default,
    one_of_artifacts,
    after_only,
    python3_in_text,
    number_in_list,
    container_component,
    run_id_as_input,
)


def _compared(pipeline: Pipeline) -> Iterator[tuple[LintTask, Any, str, str]]:
    """Yield the comparisons of conditions: task, origin of the left side, quote, right side."""
    for task in pipeline.tasks:
        for name, quote, value in _COMPARED.findall(task.condition):
            if name in task.inputs:
                yield task, task.inputs[name], quote, value


def _sources(pipeline: Pipeline, group: Mapping[str, Any], output: str) -> int:
    """Count the tasks that an output artifact of a group may come from."""
    selectors = group["dag"].get("outputs", {}).get("artifacts", {}).get(output, {})
    count = 0
    for selector in selectors.get("artifactSelectors", ()):
        task = group["dag"]["tasks"][selector["producerSubtask"]]
        component = pipeline.spec["components"][task["componentRef"]["name"]]
        key = selector["outputArtifactKey"]
        count += _sources(pipeline, component, key) if "dag" in component else 1
    return count


def _attributes(task: LintTask) -> set[str]:
    """Return the texts that kfp's own attributes of loop items compile to."""
    texts = set(_TYPES)
    for loop in (parent for parent in task.parents if parent.is_loop):
        full_name = loop.iterator.get("itemInput", "").removeprefix("pipelinechannel--")
        items = loop.inputs.get(loop.iterator.get("items", {}).get("inputParameter", ""))
        producer = items.task if items else ""
        texts |= {full_name, full_name.removeprefix(f"{producer}-"), producer} - {""}
    return texts


def _is_exit_handler(task: LintTask) -> bool:
    return task.name.startswith("exit-handler-")


def _producers(task: LintTask) -> Iterator[str]:
    """Yield the tasks of the same group whose outputs a task reads."""
    inputs = task.spec.get("inputs", {})
    for part in ("parameters", "artifacts"):
        for value in inputs.get(part, {}).values():
            for key in ("taskOutputParameter", "taskOutputArtifact"):
                if key in value:
                    yield value[key]["producerTask"]


def _texts(pipeline: Pipeline) -> Iterator[Problem]:
    """Yield each text that is an input of a task or a default, with its place."""
    for task in pipeline.tasks:
        for name, value in task.constants.items():
            yield f"{task.path} ({name})", json.dumps(value)
        yield task.path, task.iterator.get("items", {}).get("raw", "")
    for name, declared in pipeline.parameters.items():
        yield f"parameter {name}", json.dumps(declared.get("defaultValue"))


def _has_number(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return any(map(_has_number, value))
    # YAML and protobuf have turned 2 into 2.0.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value % 1 == 0
