from __future__ import annotations

import pytest

from ranzcr import config
from ranzcr.config import Experiment
from ranzcr.errors import ConfigError

HASHES = {
    "b6v3_001": "6e4d1d1638edeb45",
    "b7v3_001": "c7ecbbc5a1b0d36c",
    "kdb3v3_b71_001": "2bd498d9818f1a57",
    "kdb4v3_b61_002": "14bbe72b0c889108",
    "kdb4v3_b71_001": "2b172935135de782",
    "r200d_staged": "fb8b4275868e0191",
    "smoke_a": "dc55f4262f1966f5",
    "smoke_b": "53828b410efcbf90",
    "smoke_student": "864665c48b586fbd",
}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes an experiment's file and returns its path."""

    def _write(name: str, text: str):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return _write


@pytest.mark.parametrize("name", config.names())
def test_every_packaged_experiment_loads_under_its_own_name(name):
    experiment = config.load(name)
    assert experiment.name == name
    assert experiment.about


def test_the_packaged_experiments_are_complete():
    seeds = {"b6v3_001", "b7v3_001", "kdb3v3_b71_001", "kdb4v3_b61_002", "kdb4v3_b71_001"}
    assert seeds | {"r200d_staged", "smoke_a", "smoke_b", "smoke_student"} <= set(config.names())


def test_a_student_extends_its_teachers_settings_and_changes_its_own():
    student = config.load("kdb4v3_b61_002")
    assert student.parent == "kdb4v3_b71_001"
    assert student.teachers == ("b6v3_001",)
    assert student.model.backbone.startswith("tf_efficientnet_b4")
    assert student.training.ema_decay == config.load("b7v3_001").training.ema_decay
    assert [phase.labels for phase in student.training.recipe] == ["soft", "hard"]


def test_an_override_reaches_a_setting_and_a_phase_by_name():
    changed = config.load(
        "b7v3_001",
        ["data.batch_size=2", "training.recipe.cooldown.lr=5e-7", "training.precision=32"],
    )
    assert changed.data.batch_size == 2
    assert changed.training.recipe[1].lr == 5e-7
    assert changed.training.precision == "32"


def test_resolved_json_and_yaml_give_the_same_experiment_back(write):
    experiment = config.load("r200d_staged")
    assert Experiment.from_json(experiment.to_json()) == experiment
    copy = write("copy", experiment.to_yaml())
    assert config.load(copy) == experiment


@pytest.mark.parametrize(("name", "config_hash"), HASHES.items())
def test_the_hashes_of_packaged_experiments_do_not_change(name, config_hash):
    """Journals find trained folds by these hashes."""
    assert config.load(name).config_hash == config_hash


def test_the_sizes_of_an_experiments_images():
    staged = config.load("r200d_staged")
    large = staged.training.recipe[-1]
    assert (large.image_size, staged.data.image_size) == (768, 512)
    assert (staged.size_of(large), staged.largest_size) == (768, 768)
    assert staged.size_of(staged.training.recipe[0]) == 512


def test_an_experiment_lists_the_files_of_the_parts_that_it_names():
    sources = config.load("smoke_a").extension_sources()
    assert [path.name for path in sources] == ["heads.py", "augmentation.py", "losses.py"]


def test_another_loss_changes_the_hash_and_the_file():
    experiment = config.load("smoke_a", ["training.loss=json.dumps"])
    assert experiment.config_hash != config.load("smoke_a").config_hash
    assert Experiment.from_json(experiment.to_json()) == experiment
    assert "loss" not in config.load("smoke_a").to_yaml()


def test_the_hash_depends_only_on_settings_that_can_change_the_model():
    experiment = config.load("b7v3_001")
    assert experiment.model_copy(update={"about": "x"}).config_hash == experiment.config_hash
    assert config.load("b7v3_001", ["data.batch_size=2"]).config_hash != experiment.config_hash


def test_extends_prefers_a_file_in_the_same_folder(write):
    write("base", "about: own base\ndata: {image_size: 96}\n")
    child = write("child", "extends: base\nmodel: {head: gem}\n")
    experiment = config.load(child)
    assert (experiment.data.image_size, experiment.model.head) == (96, "gem")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.batchsize=3"], "no setting 'data.batchsize'; did you mean batch_size?"),
        (["dat.batch_size=3"], "no setting 'dat'; did you mean data?"),
        (["training.recipe.trian.lr=1"], "no phase 'trian'.*did you mean train?"),
        (["training.recipe.train.epoch=3"], "no setting 'training.recipe.0.epoch'.*epochs"),
        (["model.head=gemm"], r"b7v3_001: model.head: no head 'gemm'; did you mean gem\?$"),
        (["data.batch_size=0"], "data.batch_size: .*greater than or equal to 1; found 0"),
        (["data.batch_size=x"], "data.batch_size: .*found 'x'"),
        (["data.batch_size"], "expected key=value"),
        (["data.batch_size.x=1"], "has no settings of its own"),
        (["name=[", "x=1"], "is not a YAML value"),
        (["training.recipe.train.warmup_epochs=18"], "warmup_epochs=18.0 must be < epochs=18"),
        (["training.recipe=[]"], "give it at least one phase"),
    ],
)
def test_a_bad_override_is_one_line_that_names_the_key(overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config.load("b7v3_001", overrides)
    assert "\n" not in str(caught.value)


def test_an_unknown_experiment_names_the_nearest():
    with pytest.raises(ConfigError, match="no experiment 'b7v3_01'; did you mean b7v3_001"):
        config.load("b7v3_01")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: [a, b]", "extends takes one experiment name"),
        ("- 1", "expected settings as key: value, found list"),
        ("a: [", "not YAML"),
        ("extends: circle", "extends itself"),
        ("training: {recipe: [{name: a}, {name: a}]}", "two phases named a"),
        ("training: {recipe: [{name: a, drawn: true}]}", "need rows: annotated"),
        ("training: {recipe: [{name: a, rows: soft}]}", "have only labels: soft"),
        (
            "training: {recipe: [{name: a, rows: annotated, distill: t}]}",
            "distill=t is not an earlier phase",
        ),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(write, text, message):
    path = write("circle", text)
    with pytest.raises(ConfigError, match=message) as caught:
        config.load(path)
    assert "circle" in str(caught.value)
    assert "\n" not in str(caught.value)
