"""A stand-in for KFP's API server: its v2beta1 REST, in the shapes of kfp_server_api's own models.

Requests are parsed into these models, and answers are written from them; unknown fields and wrong
types are refused. The behavior follows KFP 2.17's source: names are unique, a run needs a version,
RetryRun needs a failed run, TerminateRun needs an active run, a KFP for a single user ignores
namespaces, a KFP that stores pipelines in Kubernetes filters them only by substring, and the MLflow
plugin accepts no unknown fields.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import kfp_server_api
import yaml
from kfp_server_api import models
from loopback import Answer, Loopback, Refusal, Request, as_answer, routed

API = "/apis/v2beta1"
TOKEN = "a-token-that-nobody-may-see"
_PRIMITIVES: dict[str, Any] = {"str": str, "int": int, "bool": bool, "datetime": str}
_FILTERED = {
    *("name", "display_name", "state", "run_id", "description", "created_at", "experiment_id"),
}
_ACTIVE = ("PAUSED", "PENDING", "RUNNING", "RUNTIME_STATE_UNSPECIFIED")
_PLUGIN = {"experiment_name": str, "experiment_id": str, "disabled": bool}


def parse(data: Any, kind: str) -> Any:
    """Parse `data` into a model of kfp_server_api; refuse unknown fields and wrong types."""
    _check(data, kind, kind)
    body = type("Body", (), {"data": json.dumps(data)})
    return kfp_server_api.ApiClient(kfp_server_api.Configuration()).deserialize(body, kind)


def write(model: Any) -> Answer:
    """Return a model as an answer, checked like a request, so that it has the API's shape."""
    data = kfp_server_api.ApiClient(kfp_server_api.Configuration()).sanitize_for_serialization(
        model
    )
    _check(data, type(model).__name__, "answer")
    return as_answer(data)


def _check(data: Any, kind: str, place: str) -> None:
    inner = re.fullmatch(r"(list\[|dict\(str, )(.*)[\])]", kind)
    if inner:
        values = data.items() if isinstance(data, dict) else enumerate(data)
        _require(isinstance(data, list if kind.startswith("list") else dict), place, kind)
        for key, value in values:
            _check(value, inner[2], f"{place}.{key}")
    elif kind in _PRIMITIVES:
        _require(isinstance(data, _PRIMITIVES[kind]), place, kind)
    elif kind != "object":
        _check_model(data, getattr(models, kind), place)


def _check_model(data: Any, model: Any, place: str) -> None:
    if not model.openapi_types:  # an enumeration
        _require(data in model.allowable_values, place, model.__name__)
        return
    _require(isinstance(data, dict), place, model.__name__)
    types = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    for key, value in data.items():
        if key not in types:
            raise Refusal(400, f"unknown field {place}.{key}")
        _check(value, types[key], f"{place}.{key}")


def _require(condition: bool, place: str, kind: str) -> None:
    if not condition:
        raise Refusal(400, f"{place} is not a {kind}")


@dataclass
class KfpServer(Loopback):
    """Kubeflow Pipelines with the objects that clients have created and the runs that a test adds.

    Attributes:
        multi_user: True if it has namespaces.
        tag: its version, as its health reports it.
        store: the storage of pipelines, "database" or "kubernetes".
        pages: None if clients reach the API server itself; else they reach KFP's pages, and this
            is True if the pages reach the API server.
        token: the bearer token that it accepts; "" accepts everyone.
        script: the states that runs go through, one for each GET of a run; the last one stays.
    """

    multi_user: bool = True
    tag: str = "2.17.0"
    store: str = "database"
    pages: bool | None = None
    token: str = ""
    script: list[str] = field(default_factory=list)
    pipelines: list[models.V2beta1Pipeline] = field(default_factory=list)
    versions: list[models.V2beta1PipelineVersion] = field(default_factory=list)
    experiments: list[models.V2beta1Experiment] = field(default_factory=list)
    runs: list[models.V2beta1Run] = field(default_factory=list)
    schedules: list[models.V2beta1RecurringRun] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        if self.token and request.headers["Authorization"] != f"Bearer {self.token}":
            raise Refusal(401, "Request header error: there is no user identity header")
        return routed(
            {
                f"GET {API}/healthz": self._health,
                f"GET {API}/pipelines": self._list_pipelines,
                f"POST {API}/pipelines": self._create_pipeline,
                f"POST {API}/pipelines/upload_version": self._upload,
                f"GET {API}/pipelines/{{id}}/versions": self._list_versions,
                f"GET {API}/experiments": self._list_experiments,
                f"POST {API}/experiments": self._create_experiment,
                f"GET {API}/runs": self._list_runs,
                f"POST {API}/runs": self._create_run,
                f"GET {API}/runs/{{id}}": self._get_run,
                f"POST {API}/runs/{{id}}:retry": self._retry,
                f"POST {API}/runs/{{id}}:terminate": self._terminate,
                f"GET {API}/recurringruns": self._list_schedules,
                f"POST {API}/recurringruns": self._create_schedule,
                f"DELETE {API}/recurringruns/{{id}}": self._delete_schedule,
            },
            request,
        )

    def refused(self, status: int, message: str) -> bytes:
        return json.dumps({"error": message, "code": status, "message": message}).encode()

    def add_run(self, name: str, state: str, **fields: Any) -> models.V2beta1Run:
        """Add a run that a test starts with."""
        created = datetime.now(UTC) + timedelta(seconds=len(self.runs) - 1000)
        run = models.V2beta1Run(
            run_id=str(uuid4()), display_name=name, state=state, created_at=created, **fields
        )
        self.runs.append(run)
        return run

    def _health(self, request: Request) -> Answer:
        health: dict[str, Any] = {"tag_name": self.tag, "pipeline_store": self.store}
        if self.pages is not None:
            health = {"apiServerReady": self.pages, "buildDate": ""}
            if not self.pages:
                return as_answer(health)
            health |= {"apiServerTagName": self.tag, "pipelineStore": self.store}
        return as_answer({**health, "multi_user": self.multi_user})

    def _list_pipelines(self, request: Request) -> Answer:
        page, token = self._page(request, self.pipelines)
        return write(models.V2beta1ListPipelinesResponse(pipelines=page, next_page_token=token))

    def _create_pipeline(self, request: Request) -> Answer:
        pipeline = parse(json.loads(request.body), "V2beta1Pipeline")
        pipeline.namespace = self._namespace(pipeline.namespace)
        self._check_name_is_new("name", pipeline.name, self.pipelines)
        pipeline.pipeline_id = str(uuid4())
        self.pipelines.append(pipeline)
        return write(pipeline)

    def _upload(self, request: Request) -> Answer:
        pipeline_id, name = request.query["pipelineid"], request.query["name"]
        _get(self.pipelines, "pipeline_id", pipeline_id)
        versions = [version for version in self.versions if version.pipeline_id == pipeline_id]
        self._check_name_is_new("name", name, versions)
        spec = next(yaml.safe_load_all(_uploaded_file(request)))
        if "pipelineInfo" not in spec:
            raise Refusal(400, "Failed to parse the pipeline spec")
        version = models.V2beta1PipelineVersion(
            pipeline_id=pipeline_id,
            pipeline_version_id=str(uuid4()),
            name=name,
            display_name=name,
            pipeline_spec=spec,
        )
        self.versions.append(version)
        return write(version)

    def _list_versions(self, request: Request, pipeline_id: str) -> Answer:
        versions = [version for version in self.versions if version.pipeline_id == pipeline_id]
        page, token = self._page(request, versions)
        return write(
            models.V2beta1ListPipelineVersionsResponse(
                pipeline_versions=page, next_page_token=token
            )
        )

    def _list_experiments(self, request: Request) -> Answer:
        page, token = self._page(request, self.experiments)
        return write(models.V2beta1ListExperimentsResponse(experiments=page, next_page_token=token))

    def _create_experiment(self, request: Request) -> Answer:
        experiment = parse(json.loads(request.body), "V2beta1Experiment")
        experiment.namespace = self._namespace(experiment.namespace)
        self._check_name_is_new("display_name", experiment.display_name, self.experiments)
        experiment.experiment_id = str(uuid4())
        self.experiments.append(experiment)
        return write(experiment)

    def _list_runs(self, request: Request) -> Answer:
        page, token = self._page(request, self.runs)
        return write(models.V2beta1ListRunsResponse(runs=page, next_page_token=token))

    def _create_run(self, request: Request) -> Answer:
        run = parse(json.loads(request.body), "V2beta1Run")
        self._check_references(run)
        run.run_id = str(uuid4())
        run.state = "PENDING"
        run.created_at = datetime.now(UTC)
        self.runs.append(run)
        return write(run)

    def _get_run(self, request: Request, run_id: str) -> Answer:
        run = _get(self.runs, "run_id", run_id)
        if self.script:
            run.state = self.script.pop(0)
        answer = write(run)
        if run.state == "CANCELING":
            run.state = "CANCELED"
        return answer

    def _retry(self, request: Request, run_id: str) -> Answer:
        run = _get(self.runs, "run_id", run_id)
        if run.state not in ("FAILED", "CANCELED"):
            raise Refusal(400, "Workflow must be Failed/Error to retry")
        run.state = "RUNNING"
        return Answer()

    def _terminate(self, request: Request, run_id: str) -> Answer:
        run = _get(self.runs, "run_id", run_id)
        if run.state not in _ACTIVE:
            raise Refusal(400, f"Failed to terminate a run {run_id}. Row not found")
        run.state = "CANCELING"
        return Answer()

    def _list_schedules(self, request: Request) -> Answer:
        page, token = self._page(request, self.schedules)
        return write(
            models.V2beta1ListRecurringRunsResponse(recurring_runs=page, next_page_token=token)
        )

    def _create_schedule(self, request: Request) -> Answer:
        schedule = parse(json.loads(request.body), "V2beta1RecurringRun")
        schedule.namespace = self._namespace(schedule.namespace)
        self._check_references(schedule)
        if not 1 <= int(schedule.max_concurrency or 0) <= 10:
            raise Refusal(400, "Max concurrency must be at least 1 and at most 10")
        schedule.recurring_run_id = str(uuid4())
        schedule.status = "ENABLED" if schedule.mode == "ENABLE" else "DISABLED"
        self.schedules.append(schedule)
        return write(schedule)

    def _delete_schedule(self, request: Request, schedule_id: str) -> Answer:
        self.schedules.remove(_get(self.schedules, "recurring_run_id", schedule_id))
        return Answer()

    def _check_references(self, body: Any) -> None:
        if not body.display_name:
            raise Refusal(400, "The run name is empty. Please specify a valid name")
        _get(self.experiments, "experiment_id", body.experiment_id)
        version_id = body.pipeline_version_reference.pipeline_version_id
        spec = _get(self.versions, "pipeline_version_id", version_id).pipeline_spec
        declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        unknown = set(body.runtime_config.parameters) - set(declared)
        if unknown:
            raise Refusal(400, f"unknown parameters {unknown}")
        plugin = (body.plugins_input or {}).get("mlflow", {})
        if any(not isinstance(value, _PLUGIN.get(key, ())) for key, value in plugin.items()):
            raise Refusal(400, f"plugins_input.mlflow must follow schema {sorted(_PLUGIN)}")

    def _namespace(self, namespace: str | None) -> str | None:
        if self.multi_user and not namespace:
            raise Refusal(400, "Resource cannot have an empty namespace in multi-user mode")
        return namespace if self.multi_user else None

    def _check_name_is_new(self, key: str, name: str, existing: Iterable[Any]) -> None:
        if any(getattr(item, key) == name for item in existing):
            raise Refusal(409, f"The name {name} already exists")

    def _page(self, request: Request, items: list[Any]) -> tuple[list[Any], str | None]:
        text = request.query.get("filter", "")
        if not request.path.endswith("/versions"):
            self._namespace(request.query.get("namespace"))
        if self.store == "kubernetes" and "/pipelines" in request.path and "EQUALS" in text:
            raise Refusal(400, "The filter eq is not supported with the Kubernetes pipeline store")
        matching = [item for item in reversed(items) if _matches(item, text)]
        begin = int(request.query.get("page_token") or 0)
        end = begin + min(int(request.query.get("page_size") or 20), 200)
        return matching[begin:end], str(end) if end < len(matching) else None


def _get(items: Iterable[Any], key: str, value: str) -> Any:
    for item in items:
        if getattr(item, key) == value:
            return item
    raise Refusal(404, f"{key} {value} not found")


def _matches(item: Any, text: str) -> bool:
    if not text:
        return True
    for predicate in parse(json.loads(text), "V2beta1Filter").predicates:
        if predicate.key not in _FILTERED:
            raise Refusal(400, f"invalid field {predicate.key!r}")
        value = getattr(item, predicate.key)
        matches = {
            "EQUALS": value == predicate.string_value,
            "IS_SUBSTRING": predicate.string_value in value,
        }
        if not matches[predicate.operation]:
            return False
    return True


def _uploaded_file(request: Request) -> bytes:
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    for part in message.iter_parts():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            return part.get_payload(decode=True)
    raise Refusal(400, "Failed to read pipeline from file")
