"""The expected compiled pipelines. Write them again: python tests/pipelines/golden.py

They contain everything that a cluster runs, except for the source of the components, which is in
components/.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from pipelines import hardware, launch

FOLDER = Path(__file__).with_name("golden")
IMAGE = f"registry.example.com/ranzcr@sha256:{'0123456789abcdef' * 4}"
CASES = [(name, profile) for name in launch.PIPELINES for profile in hardware.profiles()]


def file_of(name: str, profile: str) -> Path:
    return FOLDER / f"{name}.{profile}.yaml"


def compiled(name: str, profile: str) -> list[dict[str, Any]]:
    """Compile a pipeline; return both documents without the source of components."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        launch.compile_to(name, path, IMAGE, profile)
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        container = executor.get("container", {})
        if "command" in container:
            container["command"] = ["<source of the component>"]
    return documents


def expected(name: str, profile: str) -> list[dict[str, Any]]:
    """Return the golden documents; none if there is no file."""
    file = file_of(name, profile)
    return list(yaml.load_all(file.read_text(), yaml.CSafeLoader)) if file.is_file() else []


def as_yaml(documents: list[dict[str, Any]]) -> str:
    """Return the text of a golden file, with sorted keys."""
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper, width=100)


def write_all() -> None:
    """Write all golden files, and remove those of deleted pipelines and profiles."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.yaml"):
        path.unlink()
    for name, profile in CASES:
        file_of(name, profile).write_text(as_yaml(compiled(name, profile)), encoding="utf-8")
    print(f"{FOLDER}: {len(CASES)} files; say in the commit why they changed", file=sys.stderr)


if __name__ == "__main__":
    write_all()
