"""The code of a stage in its cache key, and the tasks that a run reports as redone."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines import code, launch
from pipelines.lint import tree
from pipelines.local.processes import Processes
from pipelines.local.versions import Planned, Versions
from ranzcr import config

pytestmark = pytest.mark.slow

STAGES = sorted({path.stem for path in (code.ROOT / "ranzcr/stages").glob("*.py")} - {"__init__"})


@pytest.fixture
def root(tmp_path) -> Path:
    """A copy of the sources, which a test may change."""
    for package in ("ranzcr", "components"):
        shutil.copytree(
            code.ROOT / package,
            tmp_path / "copy" / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return tmp_path / "copy"


def edit(path: Path) -> None:
    path.write_text(f"{path.read_text(encoding='utf-8')}\n# edited\n", encoding="utf-8")


def changed_by(root: Path, *names: str) -> set[str]:
    """Change files; return the stages whose code has changed."""
    before = {stage: code.of_stage(stage, root=root) for stage in STAGES}
    for name in names:
        edit(root / name)
    return {stage for stage in STAGES if code.of_stage(stage, root=root) != before[stage]}


def test_the_code_is_the_same_at_another_path(root):
    for stage in STAGES:
        assert code.of_stage(stage, root=root) == code.of_stage(stage)
        assert len(code.version(code.of_stage(stage))) == 16


def test_the_command_line_changes_no_stage(root):
    files = [path.relative_to(root).as_posix() for path in root.glob("ranzcr/cli/*.py")]
    assert changed_by(root, *files) == set()


@pytest.mark.parametrize(
    ("name", "changed", "unchanged"),
    [
        ("ranzcr/training/losses.py", {"train"}, {"prepare", "evaluate", "blend", "bundle"}),
        ("ranzcr/ensemble/blend.py", {"blend"}, {"prepare", "train", "predict", "evaluate"}),
        ("ranzcr/stages/pseudo.py", {"pseudo"}, set(STAGES) - {"pseudo"}),
        ("components/prepare.py", {"prepare"}, set(STAGES) - {"prepare"}),
        ("ranzcr/registry/gates.py", {"register"}, {"train", "predict", "export", "bundle"}),
    ],
)
def test_a_file_changes_the_stages_that_import_it(root, name, changed, unchanged):
    stages = changed_by(root, name)
    assert changed <= stages
    assert not unchanged & stages


def test_the_init_of_a_package_and_an_import_inside_a_function_count():
    train = code.of_stage("train")
    assert "ranzcr/data/__init__.py" in train
    assert "ranzcr/ensemble/auc.py" in train  # imported by a function of the stage


def test_the_versions_of_imported_packages_count(monkeypatch):
    before = code.of_stage("train")
    assert {"torch", "timm", "numpy", "opencv-python-headless"} <= before.keys()
    assert not {"torch", "timm", "mlflow"} & code.of_stage("evaluate").keys()
    monkeypatch.setattr(code, "_versions", lambda module: {module: "99"})
    now = code.of_stage("train")
    torch = f"torch changed from {before['torch']} to 99"
    assert torch in code.differences(before, now)


def test_a_data_file_counts_if_a_source_refers_to_it(root):
    (root / "ranzcr/data/limits.yaml").write_text("blur: 1\n")
    assert "ranzcr/data/limits.yaml" not in code.of_stage("prepare", root=root)
    folds = root / "ranzcr/data/folds.py"
    folds.write_text(f"{folds.read_text()}\nLIMITS = Path(__file__).with_name('limits.yaml')\n")
    before = code.of_stage("prepare", root=root)
    (root / "ranzcr/data/limits.yaml").write_text("blur: 2\n")
    now = code.of_stage("prepare", root=root)
    assert code.differences(before, now) == ["ranzcr/data/limits.yaml changed"]
    assert "ranzcr/data/limits.yaml" not in code.of_stage("evaluate", root=root)


def test_files_whose_content_is_a_parameter_do_not_count():
    """Experiments arrive as resolved JSON, gates as JSON."""
    for name in code.IN_PARAMETERS:
        assert (code.ROOT / name).exists()
        assert not [file for stage in STAGES for file in code.of_stage(stage) if name in file]


@pytest.fixture
def head(tmp_path) -> Path:
    """A user's head, which imports another module of its package."""
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "layers.py").write_text("import torch\n")
    (package / "heads.py").write_text("from my_package.layers import torch\n")
    return package / "heads.py"


def test_a_users_module_and_its_imports_from_its_package_count(head):
    before = code.of_stage("train", [head])
    assert {"my_package/heads.py", "my_package/layers.py"} <= before.keys()
    (head.parent / "layers.py").write_text("import torch, numpy\n")
    now = code.of_stage("train", [head])
    assert code.differences(before, now) == ["my_package/layers.py changed"]


PLANNED = [
    Planned("ingest", cached=False),
    Planned("prepare"),
    *(Planned("train", name, 5) for name in ("b6v3_001", "b7v3_001")),
    Planned("evaluate"),
]


@pytest.fixture
def redone(tmp_path, root):
    """Return the lines about redone tasks, and record that the run has finished."""

    def _redone(settings=None) -> list[str]:
        def code_of(stage, experiment):
            return code.of_stage(stage, root=root)

        versions = Versions(code_of, settings, tmp_path / "code.json")
        lines = versions.redone(PLANNED)
        for tasks in PLANNED:
            versions.finish(tasks.stage, tasks.experiment)
        versions.save()
        return lines

    return _redone


def test_the_first_run_and_a_run_without_changes_report_nothing(redone):
    assert redone() == []
    assert redone() == []


def test_a_changed_file_is_reported_with_the_redone_tasks(redone, root):
    redone()
    edit(root / "ranzcr/training/losses.py")
    assert redone() == [
        "train b6v3_001 x 5: ranzcr/training/losses.py changed",
        "train b7v3_001 x 5: ranzcr/training/losses.py changed",
    ]
    assert redone() == []


def test_restored_code_uses_the_cache_again(redone, root):
    redone()
    file = root / "ranzcr/training/losses.py"
    text = file.read_text()
    edit(file)
    redone()
    file.write_text(text)
    assert redone() == []


def test_many_changes_are_counted(redone, root):
    redone()
    for name in ("fit", "losses", "module", "optim", "recipe"):
        edit(root / f"ranzcr/training/{name}.py")
    assert redone()[0] == (
        "train b6v3_001 x 5: ranzcr/training/fit.py changed, ranzcr/training/losses.py changed, "
        "ranzcr/training/module.py changed and 2 more"
    )


def test_a_users_module_counts_for_the_experiments_that_use_it(head, monkeypatch):
    monkeypatch.syspath_prepend(head.parent.parent)
    with open(head, "a") as file:
        file.write("class MyHead: ...\n")
    experiments = [
        config.load("smoke_a", ["model.head=my_package.heads.MyHead"]),
        config.load("smoke_b"),
    ]
    code_of = launch._code_of(Processes(), experiments, {})
    modules = {"my_package/heads.py", "my_package/layers.py"}
    for stage in ("train", "predict"):
        assert modules <= code_of(stage, "smoke_a").keys()
        assert not modules & code_of(stage, "smoke_b").keys()
    assert modules <= code_of("export", "").keys()
    for stage in ("prepare", "evaluate", "blend", "bundle"):
        assert not modules & code_of(stage, "").keys()


def test_another_competition_counts(monkeypatch, tmp_path):
    before = launch._code_of(Processes(), [], {})("prepare", "")
    file = tmp_path / "other.yaml"
    file.write_text("extends: ranzcr-clip\nid: image\n")
    monkeypatch.setenv("RANZCR_COMPETITION", str(file))
    now = launch._code_of(Processes(), [], {})("prepare", "")
    assert code.differences(before, now) == [
        "settings of other added",
        "settings of ranzcr-clip removed",
    ]


def test_changed_settings_of_an_experiment_are_reported(redone):
    redone(settings={"b6v3_001": "0" * 16})
    lines = redone(settings={"b6v3_001": "1" * 16})
    assert lines == ["train b6v3_001 x 5: settings of b6v3_001 changed"]


def test_an_unfinished_task_is_redone_and_reported_again(tmp_path, root, redone):
    redone()
    edit(root / "ranzcr/training/losses.py")

    def code_of(stage, experiment):
        return code.of_stage(stage, root=root)

    for _ in range(2):
        versions = Versions(code_of, record=tmp_path / "code.json")
        assert len(versions.redone(PLANNED)) == 2
        versions.save()  # no task has finished


def test_the_tasks_of_a_run_are_planned_in_order():
    spec = tree.of_graph(launch.pipeline("competition"))
    planned = [str(tasks) for tasks in launch._planned(spec, ["smoke_a", "smoke_b"], 5)]
    assert planned == [
        *("ingest", "prepare", "plan x 2", "train smoke_a x 5", "train smoke_b x 5"),
        *("predict smoke_a x 5", "predict smoke_b x 5", "evaluate x 2", "pseudo", "blend"),
        *("export", "register", "promote", "bundle"),
    ]


def test_a_run_reports_what_it_redoes_before_it_starts(competition, monkeypatch, capfd, root):
    """The tasks themselves are replaced."""
    from pipelines import local

    def finish_all(*arguments, versions, tasks, **options):
        print(f"{tasks} tasks", file=sys.stderr)
        for name in ("smoke_a", "smoke_b"):
            versions.finish("train", name)
        versions.save()

    def run() -> list[str]:
        options = {"source": str(competition), "first": "smoke_a,smoke_b", "folds": 3}
        launch.run("first-stage", **options)
        return [line for line in capfd.readouterr().err.splitlines() if "not done" not in line]

    monkeypatch.setattr(local, "run", finish_all)
    monkeypatch.setattr(
        Processes, "code_of", lambda self, stage, files=(): code.of_stage(stage, root=root)
    )
    assert run() == ["17 tasks"]
    edit(root / "ranzcr/training/losses.py")
    assert run() == [
        *(
            f"train {name} x 3: ranzcr/training/losses.py changed"
            for name in ("smoke_a", "smoke_b")
        ),
        "17 tasks",
    ]


def test_the_tasks_of_a_loop_read_their_code_one_after_the_other():
    reading = threading.Lock()

    def code_of(stage: str, experiment: str) -> code.Code:
        assert reading.acquire(blocking=False), "another thread is reading code"
        time.sleep(0.01)
        reading.release()
        return {"losses.py": experiment}

    versions = Versions(code_of)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda fold: versions.of_task("train", f"smoke_{fold}"), range(8)))
