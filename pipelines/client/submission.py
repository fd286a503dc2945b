"""Submit a run: its pipeline, version, experiment and run are each created once.

A run is called <pipeline>-<key>-<number>. The key identifies content and parameters; the number
counts runs of them. So if an answer is lost, repeating the command finds the same run, and the same
work is not done twice at the same time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api

from pipelines.client import registry, runs, settings
from pipelines.client.connection import WITH_PLUGINS, Kfp, as_json, once, where
from pipelines.client.package import Package
from pipelines.conventions import SERVICE_ACCOUNT
from ranzcr import competitions
from ranzcr.errors import ClusterError
from ranzcr.files import hash_json


@dataclass(frozen=True)
class RunSubmission:
    """A run to submit.

    Args:
        arguments: by the names of the pipeline's parameters.
        experiment: the KFP experiment of the run.
        plugin: let KFP's MLflow plugin log the run; None leaves it to the server.
    """

    package: Package
    arguments: Mapping[str, Any]
    experiment: str
    plugin: bool | None = None

    @property
    def name(self) -> str:
        """Return the name of its runs, without their number."""
        content = [self.package.version, dict(self.arguments), self.experiment, self.plugin]
        return f"{self.package.name}-{hash_json(content)[:8]}"

    @property
    def config(self) -> kfp_server_api.V2beta1RuntimeConfig:
        """Return the parameters for KFP."""
        return kfp_server_api.V2beta1RuntimeConfig(parameters=dict(self.arguments))

    @property
    def plugins_input(self) -> dict[str, Any] | None:
        """Return the MLflow plugin's input: its experiment, or that it is disabled."""
        if self.plugin is None:
            return None
        experiment = {"experiment_name": competitions.current().name}
        return {"mlflow": experiment if self.plugin else {"disabled": True}}

    def run(self, references: RunReferences, number: int) -> kfp_server_api.V2beta1Run:
        """Return the request for its `number`th run."""
        return kfp_server_api.V2beta1Run(
            display_name=f"{self.name}-{number}",
            experiment_id=references.experiment_id,
            pipeline_version_reference=references.version,
            runtime_config=self.config,
            service_account=SERVICE_ACCOUNT,
            plugins_input=self.plugins_input,
        )


@dataclass(frozen=True)
class RunReferences:
    """The ids of the experiment and the pipeline version that a run refers to."""

    experiment_id: str
    pipeline_id: str
    version_id: str

    @property
    def version(self) -> kfp_server_api.V2beta1PipelineVersionReference:
        return kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=self.pipeline_id, pipeline_version_id=self.version_id
        )


_PAGE = 200  # the most that KFP lists at a time
UNKNOWN = RunReferences(
    "<experiment_id>", "<pipeline_id>", "<pipeline_version_id>"
)  # for a dry run


def submit(
    kfp: Kfp, submission: RunSubmission, report: Callable[[str], None]
) -> kfp_server_api.V2beta1Run:
    """Return the active run of a submission, or start a new one.

    Raises ClusterError if KFP refuses, or does not answer and has started nothing.
    """
    check_plugin(kfp, submission.plugin)
    references = prepare(kfp, submission)
    earlier = _numbered(kfp, submission.name)
    for run in earlier.values():
        if run.state not in runs.ENDING:
            report(f"{run.display_name}: this run is already active, so it is not started again")
            return run
    body = submission.run(references, max(earlier, default=0) + 1)

    def create() -> kfp_server_api.V2beta1Run:
        with kfp.translated("a run"):
            return kfp.runs.run_service_create_run(run=body)

    return once(lambda: runs.by_name(kfp, body.display_name), create)


def _numbered(kfp: Kfp, name: str) -> dict[int, kfp_server_api.V2beta1Run]:
    """Return the runs of a submission by number, without clones made in KFP's pages."""
    matching = runs.search(kfp, ("display_name", "IS_SUBSTRING", f"{name}-"), limit=100)
    numbers = [run.display_name.removeprefix(f"{name}-") for run in matching]
    return {int(n): run for n, run in zip(numbers, matching, strict=True) if n.isdecimal()}


def prepare(kfp: Kfp, submission: RunSubmission) -> RunReferences:
    """Find or create the pipeline, its version and the experiment.

    Raises ConfigError first if an image is not in its registry.
    """
    package, experiment = submission.package, submission.experiment
    registry.require(package.images)
    pipeline_id = once(
        lambda: _pipeline_id(kfp, package.name), lambda: _new_pipeline(kfp, package.name)
    )
    version_id = once(
        lambda: _version_id(kfp, pipeline_id, package.version),
        lambda: _upload(kfp, pipeline_id, package),
    )
    experiment_id = once(
        lambda: _experiment_id(kfp, experiment), lambda: _new_experiment(kfp, experiment)
    )
    return RunReferences(experiment_id, pipeline_id, version_id)


def check_plugin(kfp: Kfp, plugin: bool | None) -> None:
    """Raise ClusterError if KFP is too old for the MLflow plugin."""
    if plugin is not None and kfp.version is not None and kfp.version < WITH_PLUGINS:
        raise ClusterError(
            f"KFP at {kfp.settings.host} is too old for the MLflow plugin, which came with 2.17; "
            "leave out --mlflow-plugin and --no-mlflow-plugin"
        )


def as_text(submission: RunSubmission, path: str, body: Any) -> str:
    """Return the requests in JSON, then the pipeline, as a YAML stream.

    Args:
        path, body: of the last request, its ids taken from `UNKNOWN`.
    """
    package, namespace = submission.package, settings.namespace()
    upload = {"uploadfile": "the documents below", "name": package.version}
    requests = (
        ("/pipelines", _pipeline_body(namespace, package.name)),
        ("/pipelines/upload_version?pipelineid=<pipeline_id>", upload),
        ("/experiments", _experiment_body(namespace, submission.experiment)),
        (path, body),
    )
    bodies = [{"POST": f"/apis/v2beta1{path}", "body": as_json(body)} for path, body in requests]
    return f"{json.dumps(bodies, indent=2)}\n---\n{package.text}"


def _pipeline_body(namespace: str | None, name: str) -> kfp_server_api.V2beta1Pipeline:
    return kfp_server_api.V2beta1Pipeline(name=name, display_name=name, namespace=namespace)


def _experiment_body(namespace: str | None, name: str) -> kfp_server_api.V2beta1Experiment:
    return kfp_server_api.V2beta1Experiment(display_name=name, namespace=namespace)


def _pipeline_id(kfp: Kfp, name: str) -> str | None:
    with kfp.translated("the list of pipelines"):
        listed = kfp.pipelines.pipeline_service_list_pipelines(
            filter=_about(name), page_size=_PAGE, **_namespace(kfp)
        ).pipelines
    return next((item.pipeline_id for item in listed or [] if item.name == name), None)


def _new_pipeline(kfp: Kfp, name: str) -> str:
    with kfp.translated(f"pipeline {name}"):
        body = _pipeline_body(kfp.namespace, name)
        return kfp.pipelines.pipeline_service_create_pipeline(pipeline=body).pipeline_id


def _version_id(kfp: Kfp, pipeline_id: str, name: str) -> str | None:
    with kfp.translated("the versions of the pipeline"):
        listed = kfp.pipelines.pipeline_service_list_pipeline_versions(
            pipeline_id, filter=_about(name), page_size=_PAGE
        ).pipeline_versions
    return next((item.pipeline_version_id for item in listed or [] if item.name == name), None)


def _about(name: str) -> str:
    """Return a filter; a KFP that stores pipelines in Kubernetes supports no other."""
    return where(("name", "IS_SUBSTRING", name))


def _upload(kfp: Kfp, pipeline_id: str, package: Package) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{package.name}.yaml"  # KFP reads the format from the suffix
        path.write_text(package.text, encoding="utf-8")
        with kfp.translated(f"version {package.version}"):
            return kfp.uploads.upload_pipeline_version(
                str(path), name=package.version, pipelineid=pipeline_id
            ).pipeline_version_id


def _experiment_id(kfp: Kfp, name: str) -> str | None:
    with kfp.translated("the list of experiments"):
        listed = kfp.experiments.experiment_service_list_experiments(
            filter=where(("display_name", "EQUALS", name)), **_namespace(kfp)
        ).experiments
    return listed[0].experiment_id if listed else None


def _new_experiment(kfp: Kfp, name: str) -> str:
    with kfp.translated(f"experiment {name}"):
        body = _experiment_body(kfp.namespace, name)
        return kfp.experiments.experiment_service_create_experiment(experiment=body).experiment_id


def _namespace(kfp: Kfp) -> dict[str, str]:
    return {"namespace": kfp.namespace} if kfp.namespace else {}
