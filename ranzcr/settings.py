"""Settings in YAML files: typed, frozen, and each mistake is one line with the right name in it.

Experiments, pipeline profiles, providers, gates and the like are read here. A file may name another
one as `extends:` and then states only its difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import pydantic
import yaml

from ranzcr.errors import ConfigError, nearest


class Settings(pydantic.BaseModel):
    """Base class of settings: frozen, and an unknown key is an error.

    A class with `hide_input_in_errors` in its model_config never has a value shown in an error.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=pydantic.BaseModel)


@dataclass(frozen=True)
class Catalogue(Generic[Model]):
    """The YAML files of one kind that come with the package, and users' files of that kind.

    Args:
        kind: a word for error messages, such as "profile".
        folder: the packaged files, <name>.yaml.
        model: what each file is; it has a `name`, which is the file's unless it says another.
    """

    kind: str
    folder: Path
    model: type[Model]

    def names(self) -> list[str]:
        """The names of the packaged files."""
        return sorted(path.stem for path in self.folder.glob("*.yaml"))

    def load(self, name: str | Path) -> Model:
        """Read a packaged name or a YAML file. Raises ConfigError for any mistake in it."""
        content = self.read(name)
        content.pop("extends", None)
        return validate(self.model, content, str(name))

    def read(self, name: str | Path, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
        """The content of a file over that of the files it extends; `extends` names the nearest.

        `about` describes one file, so it is not inherited.
        """
        path = self._locate(name, beside=_seen[-1].parent if _seen else None)
        if path in _seen:
            chain = " -> ".join(step.stem for step in (*_seen, path))
            raise ConfigError(f"{path}: extends itself ({chain}); remove one extends")
        content = {"name": path.stem, **read(path)}
        extends = content.get("extends")
        if extends is None:
            return content
        if not isinstance(extends, str):
            raise ConfigError(f"{path}: extends takes one {self.kind} name, found {extends!r}")
        base = self.read(extends, (*_seen, path))
        return merged({key: base[key] for key in base if key not in ("about", "extends")}, content)

    def _locate(self, name: str | Path, beside: Path | None) -> Path:
        """The file of a name: beside the file that extends it, else a packaged one."""
        if str(name).endswith((".yaml", ".yml")):
            path = (beside or Path()) / name
            if not path.is_file():
                raise ConfigError(
                    f"{path}: no such file; {self.kind}s by name: {', '.join(self.names())}"
                )
            return path.resolve()
        for folder in (beside, self.folder):
            if folder is not None and (folder / f"{name}.yaml").is_file():
                return (folder / f"{name}.yaml").resolve()
        raise ConfigError(f"no {self.kind} {str(name)!r}; {nearest(str(name), self.names())}")


def load(model: type[Model], file: Path) -> Model:
    """Read one YAML file as `model`. Raises ConfigError for any mistake in it."""
    return validate(model, read(file), str(file))


def read(file: Path) -> dict[str, Any]:
    """The settings of a YAML file by name; an empty dict if it is empty.

    Raises ConfigError, which gives the line but does not show it: it may hold a password.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; check the path") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(f"{file}: {line}not YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{file}: not YAML") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{file}: expected settings as key: value, found {type(content).__name__}"
        )
    return content


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `base`, mapping by mapping; any other value, a list too, is replaced."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def validate(model: type[Model], content: Mapping[str, Any], where: str) -> Model:
    """`content` as `model`. Raises ConfigError that names `where`, the key and the nearest name."""
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        errors = error.errors()
    # A misspelt name is both unknown and missing; report the unknown one.
    first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
    location = [str(part) for part in first["loc"] if part != "[key]"]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        raise ConfigError(
            f"{where}: no setting {key!r}; {nearest(location[-1], _fields(model, location[:-1]))}"
        )
    hidden = model.model_config.get("hide_input_in_errors", False)
    found = "" if hidden or isinstance(first["input"], Mapping) else repr(first["input"])
    if first["type"] == "literal_error" and found:
        choices = first["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        message = f"{found} is not known; {nearest(str(first['input']), choices)}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        if found and not isinstance(first["input"], pydantic.BaseModel) and found not in message:
            message += f"; found {found}"
    raise ConfigError(f"{where}: {key + ': ' if key else ''}{message}")


def chosen(check: Callable[[str], str]) -> pydantic.AfterValidator:
    """Validate a setting by a function that raises ConfigError, such as `Extensions.check`."""

    def _check(name: str) -> str:
        try:
            return check(name)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    return pydantic.AfterValidator(_check)


def _fields(model: type[pydantic.BaseModel], location: Sequence[str]) -> list[str]:
    """The settings of the part of `model` at `location`."""
    part: Any = model
    for word in location:
        # A key of a mapping and a position in a tuple lead to its values.
        part = part.model_fields[word].annotation if _is_model(part) else _nested(part)
        part = _nested(part) if get_origin(part) in (Union, UnionType) else part
    return list(part.model_fields)


def _nested(annotation: Any) -> Any:
    return next(part for part in get_args(annotation) if _is_model(part))


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)
