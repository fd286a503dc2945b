"""Settings as MLflow's params."""

from ranzcr import config
from ranzcr.tracking import params


def test_settings_are_flat_and_phases_go_by_name():
    nested = {"tta": "flip", "model": {"dropout": 0.5}, "recipe": [{"name": "warm", "lr": 1e-4}]}
    assert params.flatten(nested, "cfg") == {
        "cfg.tta": "flip",
        "cfg.model.dropout": 0.5,
        "cfg.recipe.warm.lr": 1e-4,
    }


def test_values_are_text_as_people_write_it():
    values = params.of_experiment(config.load("kdb3v3_b71_001"))
    assert values["cfg.model.head"] == "gap"
    assert values["cfg.teachers"] == "b7v3_001"
    assert values["cfg.model.pretrained"] in ("true", "false")
    assert values["cfg.training.grad_clip"] == "null"
    assert "cfg.about" not in values
