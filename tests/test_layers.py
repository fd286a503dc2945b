"""The import arrow of the house: pipelines -> components -> stages -> rooms -> base."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

# A room may import those above it in this list, and itself.
LAYERS = (
    {"errors"},
    {"checkup", "cores", "files", "labels", "home", "notify", "progress", "tables"}
    | {"competitions", "extensions", "settings"},
    {"config", "documents", "predictions", "soft_labels"},
    {"submission"},
    {"data", "models", "ensemble"},
    {"training", "inference"},
    {"tracking"},
    {"journal"},
    {"registry"},
    {"lineage"},
    {"doctor", "poller"},
    {"stages"},
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
SOURCES = sorted((REPOSITORY / "ranzcr").rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(REPOSITORY / "ranzcr").parts[0].removesuffix(".py")


def rooms_of(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("ranzcr.")} & RANK.keys()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_point_one_way(path):
    room = room_of(path)
    if room in ("__init__", "cli"):
        return
    upwards = {
        other
        for other in rooms_of(imports(path)) - {room}
        if RANK[other] > RANK[room] or (RANK[other] == RANK[room] and RANK[room] > 2)
    }
    assert not upwards, f"{room} may not import {upwards}"


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("kfp", set()),
        ("kubernetes", set()),
        ("mlflow", {"tracking", "journal", "registry"}),
        ("albumentations", {"data"}),
        ("lightning", {"training"}),
    ],
)
def test_a_library_is_known_to_one_room(library, allowed):
    users = {
        room_of(path)
        for path in SOURCES
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= allowed


def test_nothing_below_imports_components_or_pipelines():
    for path in SOURCES:
        above = {name.split(".")[0] for name in imports(path)} & {"components", "pipelines"}
        assert not above or room_of(path) == "cli", path


def test_components_import_stages_alone():
    for path in (REPOSITORY / "components").glob("*.py"):
        rooms = rooms_of(imports(path)) - {"errors", "home", "config"}
        assert rooms <= {"stages"}, path


def test_each_stage_has_a_component_a_command_and_a_function():
    stages = {path.stem for path in (REPOSITORY / "ranzcr/stages").glob("*.py")} - {"__init__"}
    components = {path.stem for path in (REPOSITORY / "components").glob("*.py")}
    commands = {
        node.name
        for node in ast.walk(ast.parse((REPOSITORY / "ranzcr/cli/stages.py").read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert components - {"__init__", "image"} == stages
    assert stages <= commands


def test_no_two_files_import_each_other_in_a_circle():
    """Imports inside functions count."""
    files = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path
        for package in ("ranzcr", "components", "pipelines")
        for path in (REPOSITORY / package).rglob("*.py")
    }
    modules = {name.removesuffix(".__init__"): path for name, path in files.items()}
    imported = {
        module: {
            name if name in modules else name.rpartition(".")[0]
            for name in imports(path)
            if name in modules or name.rpartition(".")[0] in modules
        }
        - {module}
        for module, path in modules.items()
    }
    TopologicalSorter(imported).prepare()  # raises CycleError, which names the circle
