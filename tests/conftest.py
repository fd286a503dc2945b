"""Fixtures shared by all rooms: tiny real data, made once per session, and a home per test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Before torch is imported anywhere: tiny tensors on two cores are slower with threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import hypothesis
import pytest

# How long an example takes says something about the machine, not about the code.
hypothesis.settings.register_profile("ranzcr", deadline=None)
hypothesis.settings.load_profile("ranzcr")

pytest_plugins = ["journal_fixtures"]

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"
# These share one Docker daemon.
OF_IMAGES = ("test_builders.py", "test_containers.py", "test_images.py")


SLOW_FIXTURES = {"migrated", "dataset", "real_data"}  # MLflow's tables, decoded images


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as slow that use slow fixtures; files of slow tests mark themselves."""
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one worker, and all files that need container images to the same one.

    xdist's own groups have no effect with pytest 9.2.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "images" if file.endswith(OF_IMAGES) else file

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's own journal."""
    monkeypatch.setenv("RANZCR_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def competition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A competition folder of 24 phantom studies of 128 px. Copy it before you change it."""
    from ranzcr.data import phantom

    out = tmp_path_factory.mktemp("phantoms") / "competition"
    return phantom.write_competition(out, studies=24, size=128, seed=0, workers=1)


@pytest.fixture(scope="session")
def dataset(competition: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, prepared at 64 px with 3 folds."""
    from ranzcr.stages import prepare

    out = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare.run(competition, out, size=64, folds=3, seed=0)
    return out


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data beside the project; skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the real data (../shared/data) is not beside this checkout")
    return folder
