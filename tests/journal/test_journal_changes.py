"""Changes of an experiment against its parent."""

from ranzcr import config
from ranzcr.journal import changes, rows
from ranzcr.tracking import params

RECIPE = "cfg.training.recipe"


def changed(**options):
    return {row["experiment"]: row["changed"] for row in rows.select(**options).rows}


def test_settings_are_named_without_their_section_the_model_first():
    before = {
        "cfg.name": "a",
        "cfg.teachers": "",
        "cfg.data.image_size": "96",
        "cfg.model.head": "concat",
        "cfg.tta": "none",
        f"{RECIPE}.warm.lr": "0.1",
        "cfg.training.seed": "0",
        "config_hash": "1",
    }
    after = {
        "cfg.name": "b",
        "cfg.teachers": "a",
        "cfg.tta": "flip",
        "cfg.training.seed": "1",
        f"{RECIPE}.warm.lr": "0.2",
        "cfg.data.image_size": "128",
        "cfg.model.head": "attention",
        "config_hash": "2",
    }
    assert changes.compare(before, after) == [
        "head: concat→attention",
        "image_size: 96→128",
        "warm.lr: 0.1→0.2",
        "seed: 0→1",
        "tta: none→flip",
    ]


def test_added_and_removed_phases_are_named_once():
    before = {f"{RECIPE}.train.lr": "1", f"{RECIPE}.train.epochs": "2"}
    after = {f"{RECIPE}.soft.lr": "1", f"{RECIPE}.soft.epochs": "2"}
    assert changes.compare(before, after) == ["phases: +soft -train"]
    assert changes.compare(before, {"cfg.model.head": "gem"}) == []  # imported without a recipe


def test_a_setting_of_only_one_run_is_not_a_change():
    assert changes.compare({"cfg.model.head": "gem"}, {"cfg.model.dropout": "0.5"}) == []


def test_a_parent_without_a_run_is_replaced_by_the_packaged_experiment(journal_of):
    student = dict(params.of_experiment(config.load("smoke_b")))
    journal_of({"name": "smoke_b", "tags": {"parent": "smoke_a"}, "params": student})
    assert "head: concat→attention" in changed()["smoke_b"]


def test_a_parents_run_is_preferred_to_the_packaged_experiment(journal_of):
    parent = {"cfg.name": "smoke_a", "cfg.model.head": "gem"}
    child = {"cfg.name": "smoke_b", "cfg.model.head": "attention"}
    journal_of(
        {"name": "smoke_a", "params": parent, "tags": {"dataset_digest": "d"}},
        {"name": "smoke_a", "params": {**parent, "cfg.model.head": "gmp"}},  # of another data set
        {
            "name": "smoke_b",
            "params": child,
            "tags": {"parent": "smoke_a", "dataset_digest": "d"},
        },
    )
    assert changed()["smoke_b"] == "head: gem→attention"


def test_unknown_and_imported_parents_give_no_changes(journal_of):
    child = {"cfg.name": "b", "cfg.model.head": "gem"}
    journal_of(
        {"name": "imported"},
        {"name": "a", "params": child, "tags": {"parent": "nobody"}},
        {"name": "b", "params": child, "tags": {"parent": "imported"}},
        {"name": "c", "params": child, "tags": {"parent": "c"}},  # of itself
    )
    assert set(changed().values()) == {""}
