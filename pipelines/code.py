"""The code that decides the result of a stage: the part of its cache key besides the parameters.

It is every source file that `components/<stage>.py` and `ranzcr/stages/<stage>.py` reach through
imports, the data files that these sources name, and the versions of the packages they import.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import ranzcr
from ranzcr.files import hash_file, hash_json

ROOT = Path(ranzcr.__file__).parent.parent
# Modules that cannot change a result; tests/pipelines/test_code.py proves it of each.
WITHOUT_EFFECT = (
    "ranzcr/errors.py",  # the text of error messages
    "ranzcr/home.py",  # where files are kept
    "ranzcr/progress.py",  # lines on stderr
    "ranzcr/tracking/",  # the record of what a stage did
)
# Files whose content is a parameter of the pipeline.
IN_PARAMETERS = ("ranzcr/experiments/", "ranzcr/registry/gates.yaml")

Code = dict[str, str]  # path of a file, or name of a package -> its hash, or its version


def of_stage(stage: str, extensions: Iterable[Path] = (), root: Path = ROOT) -> Code:
    """Return the files and packages that decide the result of a stage.

    Args:
        extensions: source files that the stage loads by name, such as a user's own head.
        root: holds `ranzcr` and `components`.
    """
    roots = {"ranzcr": root, "components": root}
    waiting = [root / f"components/{stage}.py", root / f"ranzcr/stages/{stage}.py"]
    for path in extensions:
        package = _outermost(path)
        roots.setdefault(package.stem, package.parent)
        waiting.append(path)
    code: Code = {}
    while waiting:
        path = waiting.pop()
        name = _name(path, roots)
        if name in code or not path.is_file() or name.startswith(WITHOUT_EFFECT):
            continue
        code[name] = hash_file(path)[:16]
        modules, texts = _references(path.read_bytes())
        for module in modules:
            package = module.partition(".")[0]
            if package in roots:
                waiting += _sources(module, roots[package])
            elif package not in sys.stdlib_module_names:
                code |= _versions(package)
        for data in _data(path, texts):
            if not _name(data, roots).startswith(IN_PARAMETERS):
                code[_name(data, roots)] = hash_file(data)[:16]
    return dict(sorted(code.items()))


def version(code: Code) -> str:
    """Return 16 hex digits that change with any file or package."""
    return hash_json(code)[:16]


def differences(before: Code, now: Code) -> list[str]:
    """Describe each file and package that differs."""
    return [
        f"{name} {_difference(before.get(name), now.get(name))}"
        for name in sorted(before | now)
        if before.get(name) != now.get(name)
    ]


def _difference(before: str | None, now: str | None) -> str:
    if before is None or now is None:
        return "added" if before is None else "removed"
    is_hash = re.fullmatch("[0-9a-f]{12,}", now)
    return "changed" if is_hash else f"changed from {before} to {now}"


def _outermost(path: Path) -> Path:
    """Return the folder of the package that holds a source file; the file itself if none does."""
    while (path.parent / "__init__.py").is_file():
        path = path.parent
    return path


def _name(path: Path, roots: dict[str, Path]) -> str:
    root = next(root for root in roots.values() if path.is_relative_to(root))
    return path.relative_to(root).as_posix()


@cache
def _references(source: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """Return the modules that a source imports, and its strings that can be file names."""
    modules: set[str] = set()
    texts: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts |= {node.value} if re.fullmatch(r"\w[\w.-]*", node.value) else set()
    return frozenset(modules), frozenset(texts)


def _sources(module: str, root: Path) -> Iterator[Path]:
    """Yield the files that run when a module is imported: its packages' and its own."""
    path = root
    for word in module.split("."):
        path /= word
        yield path / "__init__.py"
    yield path.with_suffix(".py")


def _data(source: Path, texts: Iterable[str]) -> Iterator[Path]:
    """Yield data files beside a source that it names, and all files of folders that it names."""
    for path in (source.with_name(text) for text in texts):
        if path.is_file() and path.suffix != ".py":
            yield path
        elif path.is_dir() and not (path / "__init__.py").exists():
            yield from (file for file in path.rglob("*") if file.is_file())


@cache
def _versions(module: str) -> Code:
    """Return the versions of the packages that contain a third-party module."""
    return {name: metadata.version(name) for name in _distributions().get(module, ())}


@cache
def _distributions() -> dict[str, list[str]]:
    return {module: list(names) for module, names in metadata.packages_distributions().items()}
