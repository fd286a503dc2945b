"""An emulator of KFP's MLflow plugin for kfp.local: it creates the same runs as on a cluster.

The plugin has three parts in KFP's backend 2.17. Here they wrap the calls of kfp.local that do the
same work:

    API server  a run for the pipeline run; at its end, open runs below it end with it.
    driver      a run for each task below the run of its DAG. A DAG (loop, sub-pipeline, condition)
                gets one, too, which ends before its tasks begin; the iterations of a loop get none,
                so their tasks are siblings, all named as the task is. A cached task gets a run that
                ends at once. A task's process gets MLFLOW_RUN_ID, MLFLOW_TRACKING_URI and
                MLFLOW_EXPERIMENT_ID.
    launcher    at the end of each attempt: ONE batch of the task's inputs as params (JSON, so a
                text is in quotes) and the values of its system.Metrics; an error of MLflow is only
                logged. Then the run's state.

A condition that is false has a run on a cluster but not here: kfp.local does not report it.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from kfp import dsl
from kfp.local import status, task_dispatcher
from kfp.local.orchestrator import enhanced_dag_orchestrator as dags
from kfp.local.orchestrator import task_executor
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException

from ranzcr.tracking.names import Tag

_ITERATION = re.compile(r"(.+)-iteration-\d+$")  # what kfp.local names them


@dataclass
class _Task:
    """A container task between its start and its end."""

    run_id: str
    attempts: int = 0


class Plugin:
    """The plugin of one MLflow and one of its experiments."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = uri
        self.client = MlflowClient(uri)
        self.refused: list[str] = []  # MLflow's errors about batches
        stored = self.client.get_experiment_by_name(experiment)
        self.experiment_id = (
            stored.experiment_id if stored else self.client.create_experiment(experiment)
        )
        self._thread = threading.local()  # .parent: id of the DAG's run; .task: the running _Task
        self._loops: dict[str, str] = {}  # name -> id of its run

    @contextmanager
    def pipeline_run(self, name: str) -> Iterator[str]:
        """Run pipelines in this block as a cluster with the plugin does; yield the run's id."""
        tags = {"kfp.pipeline_run_id": str(uuid.uuid4())}
        root = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        self._thread.parent = root
        with self._around_kfp():
            try:
                yield root
            except BaseException:
                self._end_all(root, "FAILED")
                raise
        self._end_all(root, "FINISHED")

    def children(self, run_id: str) -> list[Any]:
        """Return the runs directly below a run, oldest first."""
        runs = self.client.search_runs(
            [self.experiment_id], f"tags.`{Tag.PARENT_RUN}` = '{run_id}'"
        )
        return sorted(runs, key=lambda run: run.info.start_time)

    def _end_all(self, run_id: str, state: str) -> None:
        for child in self.children(run_id):
            if child.info.status == "RUNNING":
                self._end_all(child.info.run_id, state)
        self.client.set_terminated(run_id, state)

    @contextmanager
    def _around_kfp(self) -> Iterator[None]:
        hooks = [
            (dags, "_run_parallel_for_task", self._loop),
            (dags, "execute_task", self._dag_or_task),
            (task_executor, "execute_single_task", self._container),
            (task_dispatcher, "run_single_task_implementation", self._attempt),
        ]
        with ExitStack() as stack:
            for module, name, hook in hooks:
                around = _around(getattr(module, name), hook)
                stack.enter_context(mock.patch.object(module, name, around))
            yield

    def _loop(self, run: Callable, call: dict[str, Any]) -> Any:
        name = call["task_spec"].task_info.name  # a loop has no other name on a cluster
        self._loops[call["task_name"]] = self._start_dag(name, call)
        return run(**call)

    def _dag_or_task(self, run: Callable, call: dict[str, Any]) -> Any:
        """Run a DAG or a task; an iteration has a thread of its own, without a parent yet."""
        spec = call["components"][call["task_spec"].component_ref.name]
        if spec.WhichOneof("implementation") != "dag":
            return run(**call)
        iteration = _ITERATION.match(call["task_name"])
        previous = getattr(self._thread, "parent", None)
        self._thread.parent = (
            self._loops[iteration[1]] if iteration else self._start_dag(call["task_name"], call)
        )
        try:
            return run(**call)
        finally:
            self._thread.parent = previous

    def _start_dag(self, name: str, call: Mapping[str, Any]) -> str:
        """Do the work of a DAG's driver: start its run and end it."""
        run_id = self._start(name)
        self._log(run_id, _inputs(call), {})
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def _container(self, run: Callable, call: dict[str, Any]) -> Any:
        """Do the work of a container's driver, and for a cached task that of the launcher."""
        task = self._thread.task = _Task(self._start(call["task_name"]))
        outputs, state = run(**call)
        if not task.attempts:
            self._finish(task.run_id, _inputs(call), outputs, state)
        return outputs, state

    def _attempt(self, run: Callable, call: dict[str, Any]) -> Any:
        """Do the work of a pod: the launcher runs the task's process and logs its result."""
        task = self._thread.task
        task.attempts += 1
        injected = {
            "MLFLOW_RUN_ID": task.run_id,
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_EXPERIMENT_ID": self.experiment_id,
        }
        executor = type(call["executor_spec"])()
        executor.CopyFrom(call["executor_spec"])
        for name, value in injected.items():
            executor.container.env.add(name=name, value=value)
        outputs, state = run(**{**call, "executor_spec": executor})
        self._finish(task.run_id, call["arguments"], outputs, state)
        return outputs, state

    def _start(self, name: str) -> str:
        tags = {Tag.PARENT_RUN: self._thread.parent}
        return self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id

    def _finish(self, run_id: str, inputs: dict, outputs: dict, state: status.Status) -> None:
        logged = [output for output in outputs.values() if isinstance(output, dsl.Metrics)]
        metrics = {k: v for output in logged for k, v in output.metadata.items()}
        self._log(run_id, inputs, metrics)
        ended = RunStatus.FINISHED if state == status.Status.SUCCESS else RunStatus.FAILED
        self.client.set_terminated(run_id, RunStatus.to_string(ended))

    def _log(self, run_id: str, inputs: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        params = [
            Param(name, json.dumps(value, separators=(",", ":")))
            for name, value in inputs.items()
            if not _is_artifact(value)
        ]
        values = [Metric(name, value, 0, 0) for name, value in metrics.items()]
        try:
            self.client.log_batch(run_id, metrics=values, params=params, synchronous=True)
        except MlflowException as error:
            self.refused.append(str(error))


def _around(original: Callable, hook: Callable) -> Callable:
    """Return a function of kfp wrapped in a hook; kfp calls all of them by keyword."""

    def around(**call: Any) -> Any:
        return hook(original, call)

    return around


def _inputs(call: Mapping[str, Any]) -> dict[str, Any]:
    return OrchestratorUtils.make_task_arguments(call["task_spec"].inputs, call["io_store"])


def _is_artifact(value: Any) -> bool:
    return isinstance(value, dsl.Artifact) or (
        isinstance(value, list) and any(map(_is_artifact, value))
    )
