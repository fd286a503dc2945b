"""The example of docs/experiments.md: a head, an augmentation and a loss outside the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ranzcr import config
from ranzcr.training.fit import fit

pytestmark = pytest.mark.slow

KINDS = ("python", "yaml")
PAGE = Path(__file__).parents[2] / "docs/experiments.md"


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """The experiment of the page's last example, with the package beside it."""
    example = PAGE.read_text().split("## Parts of your own")[1]
    code, settings = (
        example.split(f"```{kind}\n")[1].split("```")[0] for kind in ("python", "yaml")
    )
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/parts.py").write_text(code)
    (tmp_path / "mine.yaml").write_text(settings)
    monkeypatch.syspath_prepend(str(tmp_path))
    small = ["data.image_size=32", "data.workers=0", "training.recipe.train.epochs=2"]
    yield config.load(tmp_path / "mine.yaml", small)
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


def test_an_experiment_trains_with_parts_of_ones_own(experiment, made_up, tmp_path):
    assert "my_package.parts" not in sys.modules
    result = fit(experiment, made_up, fold=0)
    assert type(result.network.head).__name__ == "MyHead"
    assert 0 < result.history[0]["loss"] < 2
    assert experiment.extension_sources() == [tmp_path / "my_package/parts.py"] * 3
