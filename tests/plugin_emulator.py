"""KFP's own MLflow plugin in front of kfp.local: the runs that a cluster would make, and no others.

Its three parts, as KFP's backend 2.17 has them, here around the calls of kfp.local that stand for
them:

    API server  a run for the pipeline run; at its end, open runs below it end with it.
    driver      a run for each task below the run of its DAG. A DAG (loop, sub-pipeline, condition)
                gets one, too, which ends before its tasks begin; the iterations of a loop get none,
                so their tasks are siblings, all named as the task is. A cached task gets a run that
                ends at once. A task's process gets MLFLOW_RUN_ID, MLFLOW_TRACKING_URI and
                MLFLOW_EXPERIMENT_ID.
    launcher    at the end of each attempt: ONE batch of the task's inputs as params (JSON, so a
                text is in quotes) and the values of its system.Metrics; what MLflow says against
                it is only noted. Then the run's state.

A condition that does not hold has a run on a cluster and none here: kfp.local does not tell.
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

PARENT = "mlflow.parentRunId"
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
        self.refused: list[str] = []  # what MLflow said against batches
        known = self.client.get_experiment_by_name(experiment)
        self.experiment_id = (
            known.experiment_id if known else self.client.create_experiment(experiment)
        )
        self._here = threading.local()  # .parent: id of the DAG's run; .task: the running _Task
        self._loops: dict[str, str] = {}  # name -> id of its run

    @contextmanager
    def pipeline_run(self, name: str) -> Iterator[str]:
        """Within it kfp.local runs a pipeline as a cluster with the plugin would; its run's id."""
        tags = {"kfp.pipeline_run_id": str(uuid.uuid4())}
        root = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        self._here.parent = root
        with self._around_kfp():
            try:
                yield root
            except BaseException:
                self._end_all(root, "FAILED")
                raise
        self._end_all(root, "FINISHED")

    def children(self, run_id: str) -> list[Any]:
        """The runs directly below one, oldest first."""
        found = self.client.search_runs([self.experiment_id], f"tags.`{PARENT}` = '{run_id}'")
        return sorted(found, key=lambda run: run.info.start_time)

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

    def _loop(self, run: Callable, given: dict[str, Any]) -> Any:
        name = given["task_spec"].task_info.name  # a loop has no other name on a cluster
        self._loops[given["task_name"]] = self._start_dag(name, given)
        return run(**given)

    def _dag_or_task(self, run: Callable, given: dict[str, Any]) -> Any:
        """An iteration comes on a thread of kfp's, which knows nothing yet."""
        spec = given["components"][given["task_spec"].component_ref.name]
        if spec.WhichOneof("implementation") != "dag":
            return run(**given)
        iteration = _ITERATION.match(given["task_name"])
        before = getattr(self._here, "parent", None)
        self._here.parent = (
            self._loops[iteration[1]] if iteration else self._start_dag(given["task_name"], given)
        )
        try:
            return run(**given)
        finally:
            self._here.parent = before

    def _start_dag(self, name: str, given: Mapping[str, Any]) -> str:
        """What a DAG's driver does: start its run, and end it."""
        run_id = self._start(name)
        self._note(run_id, _inputs(given), {})
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def _container(self, run: Callable, given: dict[str, Any]) -> Any:
        """What a container's driver does, with the launcher's part for what is cached."""
        task = self._here.task = _Task(self._start(given["task_name"]))
        outputs, state = run(**given)
        if not task.attempts:
            self._finish(task.run_id, _inputs(given), outputs, state)
        return outputs, state

    def _attempt(self, run: Callable, given: dict[str, Any]) -> Any:
        """One pod: the launcher runs the task's process, and tells how it went."""
        task = self._here.task
        task.attempts += 1
        injected = {
            "MLFLOW_RUN_ID": task.run_id,
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_EXPERIMENT_ID": self.experiment_id,
        }
        executor = type(given["executor_spec"])()
        executor.CopyFrom(given["executor_spec"])
        for name, value in injected.items():
            executor.container.env.add(name=name, value=value)
        outputs, state = run(**{**given, "executor_spec": executor})
        self._finish(task.run_id, given["arguments"], outputs, state)
        return outputs, state

    def _start(self, name: str) -> str:
        tags = {PARENT: self._here.parent}
        return self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id

    def _finish(self, run_id: str, inputs: dict, outputs: dict, state: status.Status) -> None:
        metrics = [made.metadata for made in outputs.values() if isinstance(made, dsl.Metrics)]
        self._note(run_id, inputs, {name: one[name] for one in metrics for name in one})
        ended = RunStatus.FINISHED if state == status.Status.SUCCESS else RunStatus.FAILED
        self.client.set_terminated(run_id, RunStatus.to_string(ended))

    def _note(self, run_id: str, inputs: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
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
    """A function of kfp's with a hook around it; all of them are called by keyword."""

    def around(**given: Any) -> Any:
        return hook(original, given)

    return around


def _inputs(given: Mapping[str, Any]) -> dict[str, Any]:
    return OrchestratorUtils.make_task_arguments(given["task_spec"].inputs, given["io_store"])


def _is_artifact(value: Any) -> bool:
    return isinstance(value, dsl.Artifact) or (
        isinstance(value, list) and any(map(_is_artifact, value))
    )
