"""The arguments of a run are checked in the same way for this machine and for a cluster."""

from __future__ import annotations

import json

import pytest
import typer

from pipelines import launch, locations, options, request
from pipelines.lint import tree
from ranzcr import cli
from ranzcr.errors import ConfigError

IMAGE = f"registry.example.com/ranzcr@sha256:{'0' * 64}"
ARGUMENTS = [
    *("--data", "s3://clip/train", "--first", "smoke_a,smoke_b", "--second", "smoke_student"),
    *("--folds", "3", "--seed", "7", "--external", "nih=s3://clip/nih", "--blend", "mean"),
    *("--min-auc", "0.45", "--skip-bad", "--set", "data.batch_size=2"),
]


def declared(name: str) -> tree.Declared:
    return tree.of_graph(launch.pipeline(name)).parameters


def arguments(name: str, location: locations.DataLocation, texts=(), **values):
    return request.check(name, declared(name), location, [], values, texts)


@pytest.fixture
def lines():
    return []


@pytest.fixture
def cluster(lines):
    """A cluster without the parameters that compiling would remove."""
    return locations.RemoteCluster(lines.append, frozenset({"code", "devices"}))


def test_each_parameter_of_each_pipeline_has_an_option_or_is_settled():
    parameters = {name for pipeline in launch.PIPELINES for name in declared(pipeline)}
    expected = set(options.OPTIONS) - set(options.PART_OF)
    assert parameters - locations.ThisMachine.settled == expected


@pytest.mark.parametrize("command", ["run", "submit", "schedule"])
def test_each_command_has_these_options(command):
    group = typer.main.get_command(cli.app).commands["pipeline"]
    flags = {parameter.name: parameter.opts[0] for parameter in group.commands[command].params}
    expected = {name: option.flag for name, option in options.OPTIONS.items()}
    expected["overrides"] = "--set"
    assert expected.items() <= flags.items()


def test_run_and_submit_turn_the_same_options_into_the_same_parameters(ranzcr, kfp_server):
    """`submit` sends the arguments that `run` would start the pipeline with."""
    hardware = ["--profile", "cpu", "--image", IMAGE]
    code, _, err = ranzcr("pipeline", "submit", "competition", *ARGUMENTS, *hardware)
    assert (code, err) == (0, "")
    sent = kfp_server.runs[0].runtime_config.parameters
    values = {
        "source": "s3://clip/train",
        "first": "smoke_a,smoke_b",
        "second": ["smoke_student"],
        "folds": 3,
        "seed": 7,
        "externals": ["nih=s3://clip/nih"],
        "blend_method": "mean",
        "min_auc": 0.45,
        "skip_bad": True,
    }
    location = locations.ThisMachine()
    expected = request.check(
        "competition", declared("competition"), location, ["data.batch_size=2"], values
    )
    assert sent == expected
    assert json.loads(sent["gates"])["cv"]["at_least"] == 0.45
    code, _, err = ranzcr("pipeline", "run", "competition", *ARGUMENTS, "--data", "nowhere")
    assert (code, err.split(";")[0]) == (2, "ranzcr: nowhere: no such folder")


def test_gates_of_a_file_reach_the_cluster_as_json(cluster, tmp_path):
    path = tmp_path / "gates.yaml"
    path.write_text("calibration: {at_most: 0.5}\n")
    values = {"source": "s3://b", "version": "3", "why": "better"}
    gates = json.loads(arguments("promote", cluster, **values, gates=path)["gates"])
    assert gates["calibration"]["at_most"] == 0.5


@pytest.mark.parametrize("source", ["s3://clip/train", "kaggle:ranzcr", "/srv/data"])
def test_uris_and_absolute_folders_are_read_on_the_cluster(cluster, lines, source):
    assert arguments("nightly", cluster, source=source)["source"] == source
    assert lines == []


@pytest.mark.parametrize(
    ("name", "values", "option"),
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
def test_a_folder_of_this_machine_cannot_be_read_on_a_cluster(cluster, name, values, option):
    with pytest.raises(ConfigError, match=f"{option}: the cluster cannot read a folder of this"):
        arguments(name, cluster, **values)


def test_a_folder_that_exists_here_too_is_reported(cluster, lines, tmp_path):
    assert arguments("nightly", cluster, source=str(tmp_path))["source"] == str(tmp_path)
    assert lines == [f"--data {tmp_path}: read on the cluster, not on this machine"]


def test_outputs_of_other_stages_need_their_digest_on_a_cluster(cluster):
    values = {"dataset": "s3://kfp/dataset", "soft_labels": "s3://kfp/soft", "second": ["smoke_a"]}
    with pytest.raises(ConfigError, match=r"second-stage needs --param dataset_digest=\.\.\."):
        arguments("second-stage", cluster, **values)
    texts = ["dataset_digest=1f2e", "soft_digest=3d4c"]
    checked = arguments("second-stage", cluster, texts, **values)
    assert (checked["dataset"], checked["dataset_digest"]) == ("s3://kfp/dataset", "1f2e")


@pytest.mark.parametrize("dataset", ["prepared", "/srv/prepared", "kaggle:ranzcr"])
def test_outputs_of_other_stages_must_be_in_the_artifact_store_of_a_cluster(cluster, dataset):
    values = {"dataset": dataset, "soft_labels": "s3://kfp/soft", "second": ["smoke_a"]}
    with pytest.raises(ConfigError, match=f"--dataset {dataset}: a cluster takes it from KFP's"):
        arguments("second-stage", cluster, ["dataset_digest=1f", "soft_digest=3d"], **values)


def test_a_parameter_that_the_location_settles_cannot_be_set():
    with pytest.raises(ConfigError, match="nightly has no parameter 'code'"):
        arguments("nightly", locations.ThisMachine(), ["code=1"], source="s3://b")


def test_a_zero_is_passed_on_and_an_empty_text_is_not(cluster):
    checked = arguments("nightly", cluster, source="s3://b", seed=0, version="", skip_bad=False)
    assert checked == {"source": "s3://b", "seed": 0}
