"""Parts that are chosen by name: heads, losses, augmentations, blend methods, gates.

A part is one class or function with a decorator, in the module of its kind:

    @HEADS.register("gem")
    class GeMHead(nn.Module): ...

A name with dots is a part of your own: `my_package.heads.MyHead` needs no decorator, only a package
that Python finds. Names are checked by reading source files, so nothing is imported before a part
is used, torch least of all.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Callable
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, TypeVar

from ranzcr.errors import ConfigError, nearest

Part = TypeVar("Part", bound=Callable[..., Any])


class Extensions:
    """The parts of one kind.

    Args:
        kind: a word for error messages, such as "head".
        module: where the packaged parts are, such as "ranzcr.models.heads".
    """

    def __init__(self, kind: str, module: str) -> None:
        self.kind = kind
        self.module = module
        self._parts: dict[str, Any] = {}  # those registered so far, by name

    def register(self, name: str) -> Callable[[Part], Part]:
        """Give a packaged class or function the name by which it is chosen."""

        def _register(part: Part) -> Part:
            self._parts[name] = part
            return part

        return _register

    def names(self) -> tuple[str, ...]:
        """The names of the packaged parts, in the order of their file."""
        return self._packaged

    def check(self, name: str) -> str:
        """Return `name` if there is such a part, without importing it; else raise ConfigError."""
        if "." in name:
            self._file_of(name)
        elif name not in self._packaged:
            raise ConfigError(f"no {self.kind} {name!r}; {nearest(name, self._packaged)}")
        return name

    def get(self, name: str) -> Any:
        """The class or function of that name. Raises ConfigError if it does not exist."""
        self.check(name)
        if "." not in name:
            importlib.import_module(self.module)
            return self._parts[name]
        module, _, attribute = name.rpartition(".")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a module may raise anything while it is imported
            raise ConfigError(
                f"{self.kind} {name}: cannot be imported ({type(error).__name__}: {error})"
            ) from error

    def source(self, name: str) -> Path:
        """The file that holds the part. Raises ConfigError if it does not exist."""
        self.check(name)
        return self._file_of(name) if "." in name else self._packaged_file

    @cached_property
    def _packaged_file(self) -> Path:
        file = _find(self.module)
        assert file is not None
        return file

    @cached_property
    def _packaged(self) -> tuple[str, ...]:
        tree = ast.parse(self._packaged_file.read_text(encoding="utf-8"))
        decorators = (
            decorator
            for part in tree.body
            if isinstance(part, (ast.ClassDef, ast.FunctionDef))
            for decorator in part.decorator_list
        )
        return tuple(
            decorator.args[0].value
            for decorator in decorators
            if isinstance(decorator, ast.Call)
            and isinstance(decorator.func, ast.Attribute)
            and decorator.func.attr == "register"
            and isinstance(decorator.args[0], ast.Constant)
            and isinstance(decorator.args[0].value, str)
        )

    def _file_of(self, name: str) -> Path:
        """The file of a part of the user's own."""
        module, _, attribute = name.rpartition(".")
        file = _find(module)
        if file is None:
            raise ConfigError(
                f"{self.kind} {name}: no module {module!r}; install it or add its folder to "
                "PYTHONPATH"
            )
        attributes = _attributes(file)
        if attribute not in attributes:
            raise ConfigError(
                f"{self.kind} {name}: {file} has no {attribute!r}; {nearest(attribute, attributes)}"
            )
        return file


def _find(module: str) -> Path | None:
    """The source file of a module, found without importing its packages; None if there is none."""
    first, *others = module.split(".")
    try:
        spec: ModuleSpec | None = importlib.util.find_spec(first) if first else None
    except ValueError:  # `__main__` and the like have no spec
        return None
    name = first
    for word in others:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{word}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _attributes(file: Path) -> list[str]:
    """The names that a module defines or imports."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ConfigError(f"{file}: line {error.lineno}: {error.msg}") from None
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.append(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names += [(alias.asname or alias.name).split(".")[0] for alias in node.names]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


HEADS = Extensions("head", "ranzcr.models.heads")
LOSSES = Extensions("loss", "ranzcr.training.losses")
AUGMENTATIONS = Extensions("augmentation", "ranzcr.data.augmentation")
BLEND_METHODS = Extensions("blend method", "ranzcr.ensemble.blend")
GATES = Extensions("gate", "ranzcr.registry.judging")
