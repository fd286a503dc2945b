"""What is asked of a pipeline is checked alike for this machine and for a cluster."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
import typer

from pipelines import launch, places, request
from ranzcr import cli
from ranzcr.cli import options
from ranzcr.errors import ConfigError

IMAGE = f"registry.example.com/ranzcr@sha256:{'0' * 64}"
ASKED = [
    *("--data", "s3://clip/train", "--first", "smoke_a,smoke_b", "--second", "smoke_student"),
    *("--folds", "3", "--seed", "7", "--external", "nih=s3://clip/nih", "--blend", "mean"),
    *("--min-auc", "0.45", "--skip-bad", "--set", "data.batch_size=2"),
]


def arguments(name: str, place: places.Place, texts=(), **given):
    return request.check(name, request.declared(launch.pipeline(name)), place, [], given, texts)


@pytest.fixture
def told():
    return []


@pytest.fixture
def cluster(told):
    """A cluster; of a pipeline that is not compiled it settles what compiling would."""
    return places.Cluster(told.append, frozenset({"code", "devices"}))


def test_each_parameter_of_each_pipeline_is_an_option_or_settled():
    known = {name for each in launch.PIPELINES for name in request.declared(launch.pipeline(each))}
    assert known - places.Here.settled == set(request.OPTIONS)


@pytest.mark.parametrize("command", ["run", "submit", "schedule"])
def test_each_command_has_these_options(command):
    group = typer.main.get_command(cli.app).commands["pipeline"]
    declared = {one.name: one.opts[0] for one in group.commands[command].params}
    wanted = {**request.OPTIONS, "min_auc": "--min-auc", "overrides": "--set"}
    assert {name: declared.get(name) for name in wanted} == wanted
    assert {field.name for field in fields(options.Asked)} == set(wanted)


def test_run_and_submit_take_the_same_options_to_the_same_parameters(ranzcr, kfp_server):
    """What `run` would hand to the pipeline here is what `submit` sends."""
    wanted = ["--profile", "cpu", "--image", IMAGE]
    code, _, err = ranzcr("pipeline", "submit", "competition", *ASKED, *wanted)
    assert (code, err) == (0, "")
    sent = kfp_server.runs[0].runtime_config.parameters
    asked = options.Asked(
        source="s3://clip/train",
        first="smoke_a,smoke_b",
        second="smoke_student",
        folds=3,
        seed=7,
        externals=["nih=s3://clip/nih"],
        blend_method="mean",
        min_auc=0.45,
        skip_bad=True,
    )
    declared = request.declared(launch.pipeline("competition"))
    here = request.check(
        "competition", declared, places.Here(), ["data.batch_size=2"], asked.parameters
    )
    assert sent == here
    assert json.loads(sent["gates"])["cv"]["at_least"] == 0.45
    code, _, err = ranzcr("pipeline", "run", "competition", *ASKED, "--data", "nowhere")
    assert (code, err.split(";")[0]) == (2, "ranzcr: nowhere: no such folder")


def test_gates_of_a_file_reach_the_cluster_as_json(cluster, tmp_path):
    path = tmp_path / "gates.yaml"
    path.write_text("calibration: {at_most: 0.5}\n")
    given = {"source": "s3://b", "version": "3", "why": "better"}
    gates = json.loads(arguments("promote", cluster, **given, gates=path)["gates"])
    assert gates["calibration"]["at_most"] == 0.5


@pytest.mark.parametrize("source", ["s3://clip/train", "kaggle:ranzcr", "/srv/data"])
def test_a_cluster_reads_uris_and_its_own_folders(cluster, told, source):
    assert arguments("nightly", cluster, source=source)["source"] == source
    assert told == []


@pytest.mark.parametrize(
    ("name", "given", "option"),
    [
        ("nightly", {"source": "phantoms"}, "--data phantoms"),
        ("predict", {"images": "./images"}, "--images ./images"),
        (
            "first-stage",
            {"source": "s3://b", "first": ["smoke_a"], "externals": ["nih=../nih"]},
            "--external ../nih",
        ),
    ],
)
def test_a_folder_of_this_machine_cannot_be_read_on_a_cluster(cluster, name, given, option):
    with pytest.raises(ConfigError, match=f"{option}: the cluster cannot read a folder of this"):
        arguments(name, cluster, **given)


def test_a_folder_that_is_here_too_is_told_apart(cluster, told, tmp_path):
    assert arguments("nightly", cluster, source=str(tmp_path))["source"] == str(tmp_path)
    assert told == [f"--data {tmp_path}: read on the cluster, not on this machine"]


def test_what_other_stages_made_is_named_with_its_digest_on_a_cluster(cluster):
    given = {"dataset": "s3://kfp/dataset", "soft_labels": "s3://kfp/soft", "second": ["smoke_a"]}
    with pytest.raises(ConfigError, match=r"second-stage needs --param dataset_digest=\.\.\."):
        arguments("second-stage", cluster, **given)
    texts = ["dataset_digest=1f2e", "soft_digest=3d4c"]
    found = arguments("second-stage", cluster, texts, **given)
    assert (found["dataset"], found["dataset_digest"]) == ("s3://kfp/dataset", "1f2e")


@pytest.mark.parametrize("dataset", ["prepared", "/srv/prepared", "kaggle:ranzcr"])
def test_what_other_stages_made_is_in_the_artifact_store_of_a_cluster(cluster, dataset):
    given = {"dataset": dataset, "soft_labels": "s3://kfp/soft", "second": ["smoke_a"]}
    with pytest.raises(ConfigError, match=f"--dataset {dataset}: a cluster takes it from KFP's"):
        arguments("second-stage", cluster, ["dataset_digest=1f", "soft_digest=3d"], **given)


def test_what_a_place_settles_cannot_be_given():
    with pytest.raises(ConfigError, match="nightly has no parameter 'code'"):
        arguments("nightly", places.Here(), ["code=1"], source="s3://b")


def test_a_zero_is_given_and_an_empty_word_is_not(cluster):
    found = arguments("nightly", cluster, source="s3://b", seed=0, version="", skip_bad=False)
    assert found == {"source": "s3://b", "seed": 0}
