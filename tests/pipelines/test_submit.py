"""Submitting to a KFP: each object is created once, and each failure is one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp_server import API, TOKEN, KfpServer, models
from loopback import self_signed

from pipelines import launch
from pipelines.client.package import Package

RUNS = f"POST {API}/runs"


@pytest.fixture
def submit(ranzcr, package, kfp_server, fast):
    def _submit(*options: str):
        return ranzcr("pipeline", "submit", package, "--data", "s3://clip/train", *options)

    return _submit


def test_a_pipeline_is_uploaded_and_run(submit, kfp_server, package):
    code, out, err = submit("--folds", "3")
    assert (code, err) == (0, "")
    (pipeline,), (version,), (experiment,) = (
        kfp_server.pipelines,
        kfp_server.versions,
        kfp_server.experiments,
    )
    assert (pipeline.display_name, pipeline.namespace) == ("tiny", "ranzcr")
    assert version.name == Package(package.read_text()).version
    assert version.pipeline_spec == next(yaml.safe_load_all(package.read_text()))
    assert experiment.display_name == "ranzcr-clip"
    (run,) = kfp_server.runs
    assert run.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert run.runtime_config.parameters == {"source": "s3://clip/train", "folds": 3}
    assert run.service_account == "pipeline-runner"
    assert run.plugins_input is None
    assert out == f"{run.display_name}: PENDING, {kfp_server.url}/#/runs/details/{run.run_id}\n"
    assert re.fullmatch(r"tiny-[0-9a-f]{8}-1", run.display_name)


def test_a_repeated_submission_joins_the_active_run(submit, kfp_server):
    submit()
    code, out, err = submit()
    assert code == 0
    assert len(kfp_server.runs) == 1
    assert "this run is already active, so it is not started again" in err
    assert kfp_server.runs[0].run_id in out


def test_a_finished_run_is_repeated_with_the_next_number_and_nothing_else_is_created(
    submit, kfp_server
):
    submit()
    kfp_server.runs[0].state = "FAILED"
    kfp_server.add_run(f"Clone of {kfp_server.runs[0].display_name}", "RUNNING")
    assert submit()[0] == 0
    assert [run.display_name[-2:] for run in kfp_server.runs] == ["-1", "-1", "-2"]
    counts = map(len, (kfp_server.pipelines, kfp_server.versions, kfp_server.experiments))
    assert list(counts) == [1, 1, 1]


def test_a_run_that_is_being_cancelled_is_not_joined(submit, kfp_server):
    submit()
    kfp_server.runs[0].state = "CANCELING"
    submit()
    assert len(kfp_server.runs) == 2


def test_another_parameter_starts_another_run(submit, kfp_server):
    submit()
    submit("--param", "folds=3")
    assert len({run.display_name for run in kfp_server.runs}) == 2


def test_changed_content_creates_another_version_of_the_same_pipeline(
    submit, kfp_server, package, tmp_path, ranzcr
):
    submit()
    changed = tmp_path / "changed.yaml"
    changed.write_text(package.read_text().replace("0" * 64, "1" * 64))
    assert ranzcr("pipeline", "submit", changed, "--data", "s3://clip/train")[0] == 0
    assert (len(kfp_server.pipelines), len(kfp_server.versions)) == (1, 2)


@pytest.mark.parametrize("path", ["pipelines", "pipelines/upload_version", "experiments", "runs"])
@pytest.mark.parametrize("how", ["lost", "cut"])
def test_an_object_is_created_once_if_the_answer_is_lost(submit, kfp_server, path, how):
    kfp_server.fail(f"POST {API}/{path}", how)
    code, _, err = submit()
    assert code == 0, err
    created = [kfp_server.pipelines, kfp_server.versions, kfp_server.experiments, kfp_server.runs]
    assert list(map(len, created)) == [1, 1, 1, 1]


def test_a_pipeline_that_another_user_has_just_created_is_used(submit, kfp_server):
    """KFP answers 409 for a name that it did not list a moment before."""
    kfp_server.fail(f"GET {API}/experiments", 503)
    submit()  # creates pipeline and version, and stops
    kfp_server._list_pipelines = _empty_once(kfp_server._list_pipelines)
    assert submit()[0] == 0
    assert len(kfp_server.pipelines) == 1
    assert f"POST {API}/pipelines" in kfp_server.lines("POST")[2:]


def _empty_once(route):
    answers = [route]

    def _route(request):
        from kfp_server import models, write

        if len(answers) == 1:
            answers.append(route)
            return write(models.V2beta1ListPipelinesResponse(pipelines=[]))
        return route(request)

    return _route


def test_the_mlflow_plugin_gets_the_journals_experiment(submit, kfp_server):
    submit("--mlflow-plugin")
    submit("--no-mlflow-plugin")
    assert [run.plugins_input for run in kfp_server.runs] == [
        {"mlflow": {"experiment_name": "ranzcr-clip"}},
        {"mlflow": {"disabled": True}},
    ]


def test_an_old_kfp_without_the_plugin_is_used_without_it(submit, kfp_server):
    kfp_server.tag = "2.15.2"
    assert submit()[0] == 0
    code, _, err = submit("--mlflow-plugin")
    assert code == 2
    assert "too old for the MLflow plugin, which came with 2.17" in err


def test_a_kfp_for_a_single_user_gets_no_namespace(submit, kfp_server):
    kfp_server.multi_user = False
    assert submit()[0] == 0
    assert all("namespace" not in request.query for request in kfp_server.requests)
    assert b"namespace" not in b"".join(request.body for request in kfp_server.requests)


def test_a_kfp_that_stores_pipelines_in_kubernetes_gets_filters_that_it_supports(
    submit, kfp_server
):
    kfp_server.store = "kubernetes"
    submit()
    kfp_server.runs[0].state = "FAILED"
    code, _, err = submit()
    assert (code, err) == (0, "")
    assert (len(kfp_server.pipelines), len(kfp_server.versions)) == (1, 1)


def test_a_pipeline_whose_name_only_resembles_ours_is_not_used(submit, kfp_server):
    for name, display_name in [("tiny-2", "tiny-2"), ("my-tiny", "tiny")]:
        names = {"name": name, "display_name": display_name, "pipeline_id": name}
        kfp_server.pipelines.append(models.V2beta1Pipeline(namespace="ranzcr", **names))
    assert submit()[0] == 0
    assert [pipeline.name for pipeline in kfp_server.pipelines] == ["tiny-2", "my-tiny", "tiny"]


def test_kfp_is_reached_through_its_pages_too(submit, kfp_server):
    kfp_server.pages = True
    assert submit()[0] == 0
    assert kfp_server.pipelines[0].namespace == "ranzcr"
    kfp_server.pages = False
    code, _, err = submit()
    assert (code, err.count("\n")) == (2, 1)
    assert "has its pages up, but its API server is away" in err


def test_a_run_can_belong_to_another_experiment(submit, kfp_server):
    submit()
    submit("--experiment", "trials")
    names = {item.experiment_id: item.display_name for item in kfp_server.experiments}
    assert [names[run.experiment_id] for run in kfp_server.runs] == ["ranzcr-clip", "trials"]


def test_the_namespace_is_taken_from_the_environment(submit, kfp_server, monkeypatch):
    monkeypatch.setenv("RANZCR_KFP_NAMESPACE", "team-a")
    submit()
    assert kfp_server.pipelines[0].namespace == "team-a"


def test_submit_waits_for_the_end(submit, kfp_server):
    kfp_server.script = ["PENDING", "RUNNING", "PAUSED", "RUNNING", "SUCCEEDED"]
    code, _, err = submit("--wait")
    assert code == 0
    states = [line.split(": ")[1] for line in err.splitlines()]
    assert states == ["RUNNING", "PAUSED", "RUNNING", "SUCCEEDED"]


@pytest.mark.parametrize("end", ["FAILED", "CANCELED", "SKIPPED"])
def test_every_end_except_success_is_exit_code_2(submit, kfp_server, end):
    kfp_server.script = ["RUNNING", "CANCELING", end]
    code, _, err = submit("--wait")
    assert code == 2
    assert f"{end}; ranzcr pipeline logs tiny-" in err.splitlines()[-1]


def test_a_dry_run_prints_all_requests_and_sends_none(submit, kfp_server, package, monkeypatch):
    monkeypatch.delenv("RANZCR_KFP_HOST")
    code, out, _ = submit("--dry-run", "--mlflow-plugin", "--param", "rate=0.5")
    assert code == 0
    assert kfp_server.requests == []
    requests, *documents = yaml.safe_load_all(out)
    assert [request["POST"].removeprefix(API) for request in requests] == [
        "/pipelines",
        "/pipelines/upload_version?pipelineid=<pipeline_id>",
        "/experiments",
        "/runs",
    ]
    assert documents == list(yaml.safe_load_all(package.read_text()))


def test_a_dry_run_prints_the_bodies_that_are_then_sent(submit, kfp_server):
    requests = next(yaml.safe_load_all(submit("--dry-run")[1]))
    assert submit()[0] == 0
    sent = [
        json.loads(request.body)
        for request in kfp_server.requests
        if request.method == "POST" and not request.path.endswith("upload_version")
    ]
    printed = [request["body"] for request in requests if "uploadfile" not in request["body"]]
    ids = ("experiment_id", "pipeline_id", "pipeline_version_id")
    assert [_without(body, ids) for body in sent] == [_without(body, ids) for body in printed]


def _without(body, names):
    if not isinstance(body, dict):
        return body
    return {key: _without(value, names) for key, value in body.items() if key not in names}


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("fold=3", "pipeline tiny has no parameter 'fold'; did you mean folds?"),
        ("folds=three", "--param folds=three: not a whole number"),
        ("rate=fast", "--param rate=fast: not a number"),
        ("skip=maybe", "--param skip=maybe: not true or false"),
        ("names=a,b", "--param names=a,b: not a JSON list"),
        ("more=[]", "--param more=[]: not a JSON object"),
        ("folds", "--param folds: write it as KEY=VALUE"),
        ("source=s3://b", "--param source=s3://b: source is given twice; give it once"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_sent(
    submit, kfp_server, parameter, message
):
    code, _, err = submit("--param", parameter)
    assert (code, err) == (2, f"ranzcr: {message}\n")
    assert kfp_server.requests == []


def test_parameters_are_sent_in_their_types(submit, kfp_server):
    texts = ["folds=3", "rate=0.5", "skip=true", 'names=["a"]', 'more={"a": 1}']
    submit(*[word for text in texts for word in ("--param", text)])
    parameters = dict(kfp_server.runs[0].runtime_config.parameters)
    assert parameters.pop("source") == "s3://clip/train"
    assert parameters == {"folds": 3, "rate": 0.5, "skip": True, "names": ["a"], "more": {"a": 1}}


def test_a_missing_parameter_is_reported_with_its_option(ranzcr, package, kfp_server):
    code, _, err = ranzcr("pipeline", "submit", package)
    assert (code, err) == (2, "ranzcr: pipeline tiny needs --data; give it\n")


@pytest.mark.parametrize("text", ["a: 1\n", "[", "", "kind: Workflow\nspec: {}\n", "\x00"])
def test_a_file_that_is_not_a_compiled_pipeline_is_one_line(ranzcr, tmp_path, text):
    path = tmp_path / "other.yaml"
    path.write_text(text)
    code, _, err = ranzcr("pipeline", "submit", path)
    assert code == 2
    assert "not a compiled pipeline; make one with ranzcr pipeline compile" in err
    assert err.count("\n") == 1


def test_a_missing_file_and_a_profile_for_a_compiled_one_are_refused(ranzcr, package):
    assert "no such file" in ranzcr("pipeline", "submit", "away.yaml")[2]
    assert "is compiled already" in ranzcr("pipeline", "submit", package, "--profile", "cpu")[2]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (401, "does not know you (401, its health); set RANZCR_KFP_TOKEN"),
        (403, "forbids it (403, its health)"),
        (404, "has no API of KFP (404); check RANZCR_KFP_HOST"),
        (500, "cannot answer now (500, its health): made to fail with 500"),
        (503, "cannot answer now (503, its health)"),
        ("silent", "no answer in time (its health)"),
        ("cut", "the connection was cut in the middle of the answer (its health)"),
        ("lost", "it closed the connection before it answered (its health)"),
        ("page", "answers with a page, not as KFP does (its health): a login page? Set RANZCR_KFP"),
    ],
)
def test_a_kfp_that_fails_is_one_line(submit, kfp_server, how, message):
    kfp_server.fail(f"GET {API}/healthz", how, times=9)
    code, _, err = submit()
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err
    assert kfp_server.url in err


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (400, "refuses a run (400): made to fail with 400"),
        (403, "forbids it (403, a run): made to fail with 403; use a token with a role"),
        (500, "cannot answer now (500, a run)"),
        ("silent", "no answer in time (a run)"),
    ],
)
def test_a_refused_run_is_one_line_and_is_not_sent_again(submit, kfp_server, how, message):
    kfp_server.fail(RUNS, how)
    code, _, err = submit()
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err
    assert kfp_server.lines().count(RUNS) == 1
    assert kfp_server.runs == []


def test_a_login_page_is_not_read_as_an_empty_list(submit, kfp_server):
    kfp_server.fail(f"GET {API}/runs", "page")
    code, _, err = submit()
    assert (code, err.count("\n")) == (2, 1), err
    assert "(the list of runs): a login page?" in err
    assert kfp_server.runs == []


@pytest.mark.parametrize("tag", ["2.14.9", "1.8.5", "v2.3.0", "3.0.0"])
def test_a_kfp_of_an_unsupported_version_is_refused(submit, kfp_server, tag):
    kfp_server.tag = tag
    code, _, err = submit()
    assert code == 2
    assert f"is version {tag}; supported is 2.15 up to 2.x: upgrade it" in err
    assert kfp_server.lines("POST") == []


def test_a_kfp_without_a_version_is_tried(submit, kfp_server):
    kfp_server.tag = "unknown"
    assert submit()[0] == 0


def test_a_dead_host_and_an_unknown_host_are_one_line(submit, monkeypatch):
    for host, message in [
        ("http://127.0.0.1:9", "connection refused"),
        ("http://nowhere.invalid", "unknown host name"),
    ]:
        monkeypatch.setenv("RANZCR_KFP_HOST", host)
        code, _, err = submit()
        assert (code, err.count("\n")) == (2, 1), err
        assert f"KFP at {host}: {message}" in err


def test_the_proxy_of_the_environment_is_used(submit, kfp_server, monkeypatch):
    monkeypatch.setenv("RANZCR_KFP_HOST", "http://kfp.invalid")
    monkeypatch.setenv("HTTP_PROXY", kfp_server.url)
    monkeypatch.delenv("no_proxy")
    assert submit()[0] == 0
    assert kfp_server.requests[0].headers["Host"] == "kfp.invalid"


def test_tls_to_a_server_without_it_is_one_line(submit, kfp_server, monkeypatch):
    monkeypatch.setenv("RANZCR_KFP_HOST", kfp_server.url.replace("http:", "https:"))
    code, _, err = submit()
    assert (code, err.count("\n")) == (2, 1)
    assert "it does not speak TLS; begin its URL with http://" in err


def test_a_private_certificate_is_trusted_through_the_environment(
    submit, kfp_server, monkeypatch, tmp_path
):
    pem = self_signed(tmp_path / "server.pem")
    with KfpServer(certificate=pem) as server:
        monkeypatch.setenv("RANZCR_KFP_HOST", server.url)
        code, _, err = submit()
        assert (code, err.count("\n")) == (2, 1)
        assert "its certificate is not trusted; name its authority's file in SSL_CERT_FILE" in err
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "away.pem"))
        code, _, err = submit()
        assert (code, err) == (
            2,
            f"ranzcr: SSL_CERT_FILE={tmp_path / 'away.pem'}: no such file, or it may not be read\n",
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert submit()[0] == 0
        assert len(server.runs) == 1


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (None, "RANZCR_KFP_HOST is not set: name the URL of Kubeflow Pipelines"),
        ("kfp.example.com", "RANZCR_KFP_HOST=kfp.example.com: begin it with https://"),
        ("https://me:secret@kfp.example.com", "RANZCR_KFP_HOST holds a user or a password"),
    ],
)
def test_an_invalid_host_is_one_line(submit, monkeypatch, host, message):
    monkeypatch.delenv("RANZCR_KFP_HOST")
    if host:
        monkeypatch.setenv("RANZCR_KFP_HOST", host)
    code, _, err = submit()
    assert code == 2
    assert message in err
    assert "secret" not in err


def test_a_token_and_a_token_file_are_sent_and_never_printed(
    submit, kfp_server, monkeypatch, tmp_path
):
    kfp_server.token = TOKEN
    assert "does not know you" in submit()[2]
    monkeypatch.setenv("RANZCR_KFP_TOKEN", f"{TOKEN}\n")
    code, out, err = submit()
    assert code == 0
    monkeypatch.delenv("RANZCR_KFP_TOKEN")
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("RANZCR_KFP_TOKEN_FILE", str(tmp_path / "token"))
    code, file_out, file_err = submit("--param", "folds=2")
    assert code == 0
    assert TOKEN not in out + err + file_out + file_err


@pytest.mark.parametrize("name", ["RANZCR_KFP_TOKEN", "RANZCR_KFP_COOKIE"])
def test_a_damaged_secret_is_refused_and_not_printed(
    submit, kfp_server, monkeypatch, tmp_path, name
):
    monkeypatch.setenv(name, f"{TOKEN}\nmore")
    code, out, err = submit()
    assert (code, err) == (
        2,
        f"ranzcr: {name} holds a line break or another character that no token has\n",
    )
    monkeypatch.delenv(name)
    (tmp_path / "token").write_text(f"{TOKEN}\nmore")
    monkeypatch.setenv("RANZCR_KFP_TOKEN_FILE", str(tmp_path / "token"))
    code, out, err = submit()
    assert (code, err.count("\n")) == (2, 1)
    assert TOKEN not in out + err


def test_a_rotated_token_is_read_again(ranzcr, kfp_server, monkeypatch, tmp_path, fast):
    from pipelines.client import connection, runs, settings

    kfp_server.token = "first"
    (tmp_path / "token").write_text("first")
    monkeypatch.setenv("RANZCR_KFP_TOKEN_FILE", str(tmp_path / "token"))
    kfp = connection.connect(settings.from_environment())
    kfp_server.token = "second"
    (tmp_path / "token").write_text("second")
    assert runs.search(kfp, limit=1) == []


def test_a_missing_token_file_is_one_line(submit, monkeypatch, tmp_path):
    monkeypatch.setenv("RANZCR_KFP_TOKEN_FILE", str(tmp_path / "away"))
    assert "RANZCR_KFP_TOKEN_FILE=" in submit()[2]


def test_a_cookie_is_sent(submit, kfp_server, monkeypatch):
    monkeypatch.setenv("RANZCR_KFP_COOKIE", "authservice_session=abc")
    submit()
    assert kfp_server.requests[0].headers["Cookie"] == "authservice_session=abc"


def test_the_settings_do_not_show_secrets(monkeypatch, kfp_server):
    from pipelines.client import settings

    monkeypatch.setenv("RANZCR_KFP_TOKEN", TOKEN)
    monkeypatch.setenv("RANZCR_KFP_COOKIE", TOKEN)
    assert TOKEN not in repr(settings.from_environment())


IMAGE = f"ranzcr@sha256:{'0' * 64}"
STUDENT = ["--first", "smoke_a", "--second", "smoke_student", "--set", "teachers=[]"]


@pytest.fixture(scope="module")
def competition_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "competition.yaml"
    launch.compile_to("competition", path, IMAGE, "cpu")
    return path


def test_a_pipeline_by_name_is_compiled_and_its_experiments_are_resolved(ranzcr, kfp_server, fast):
    hardware = ["--profile", "gpu-small", "--provider", "gke", "--image", IMAGE]
    code, _, err = ranzcr(
        "pipeline", "submit", "competition", "--data", "s3://clip/train", *STUDENT, *hardware
    )
    assert (code, err) == (0, "")
    (run,) = kfp_server.runs
    parameters = run.runtime_config.parameters
    assert json.loads(parameters["first"][0])["name"] == "smoke_a"
    assert (parameters["source"], parameters["image_size"]) == ("s3://clip/train", 96)
    executors = kfp_server.versions[0].pipeline_spec["deploymentSpec"]["executors"]
    assert {executor["container"]["image"] for executor in executors.values()} == {IMAGE}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["competitoin"], "no pipeline 'competitoin'; did you mean competition?"),
        (["nightly", "--profile", "gpu"], "no profile 'gpu'; did you mean gpu-8x?"),
        (["nightly", "--profile", "cpu", "--provider", "gcp"], "no provider 'gcp'; known: aks"),
        (["nightly", "--profile", "cpu", "--image", "a:1"], "a tag can be moved"),
    ],
)
def test_a_failure_to_compile_is_one_line_before_anything_is_sent(
    ranzcr, kfp_server, options, message
):
    image = [] if "--image" in options else ["--image", IMAGE]
    code, _, err = ranzcr("pipeline", "submit", *options, *image, "--data", "s3://clip/train")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert kfp_server.requests == []


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("smoke_c", "smoke_student", "no experiment 'smoke_c'; did you mean smoke_"),
        ("", "smoke_student", "--first names no experiment; known: b6v3_001"),
        ("smoke_a", ",", "--second names no experiment; known: b6v3_001"),
        ("smoke_a,smoke_a", "smoke_student", "smoke_a is given twice"),
        ("smoke_student", "smoke_a", "smoke_student learns from soft labels"),
        ("b6v3_001", "kdb4v3_b71_001", "kdb4v3_b71_001 wants teacher b7v3_001"),
    ],
)
def test_experiments_that_do_not_go_together_are_refused(
    ranzcr, kfp_server, competition_file, first, second, message
):
    arguments = ["--data", "s3://clip/train", "--first", first, "--second", second]
    code, _, err = ranzcr("pipeline", "submit", competition_file, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert kfp_server.requests == []


def test_an_image_that_is_not_in_its_registry_is_refused(ranzcr, package, kfp_server, tmp_path):
    registry = kfp_server.url.removeprefix("http://")  # answers 404 to unknown paths
    other = tmp_path / "other.yaml"
    other.write_text(package.read_text().replace("ranzcr@sha256", f"{registry}/ranzcr@sha256"))
    code, _, err = ranzcr("pipeline", "submit", other, "--data", "s3://clip/train")
    assert code == 2
    assert f"image {registry}/ranzcr@sha256:000" in err
    assert "is not in its registry; push it, or name another with --image" in err
    assert kfp_server.runs == []


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_file_with_lint_findings_is_refused_before_anything_is_sent(
    ranzcr, package, kfp_server, tmp_path, options
):
    text = package.read_text().replace(f"ranzcr@sha256:{'0' * 64}", "ranzcr:latest")
    other = tmp_path / "other.yaml"
    other.write_text(re.sub(r"\n +resourceCpuLimit: .*", "", text))
    code, _, err = ranzcr("pipeline", "submit", other, "--data", "s3://clip/train", *options)
    assert code == 2
    assert err == (
        f"ranzcr: {other}: train: unpinned-image: image ranzcr:latest; "
        "name it by digest, NAME@sha256:... (and 1 more)\n"
    )
    assert kfp_server.requests == []


def test_the_program_itself_submits(package, kfp_server):
    program = Path(sys.executable).parent / "ranzcr"
    command = [program, "pipeline", "submit", package, "--data", "s3://clip/train"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    assert kfp_server.runs[0].display_name in process.stdout
