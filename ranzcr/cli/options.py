"""Options and arguments that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from pipelines.options import OPTIONS, Option

Output = Annotated[Path, typer.Option("-o", "--output", help="Where to write.", show_default=False)]
Override = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: data.batch_size=8. Repeat.")
]
Size = Annotated[int, typer.Option("--size", help="Pixels per side of the image cache.")]
Folds = Annotated[int, typer.Option("--folds", help="Patient-grouped folds.")]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same result.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Skip unreadable images; a file lists them.")
]
Tta = Annotated[str | None, typer.Option("--tta", help="flip or none; the model's own if not set.")]
VersionOrAlias = Annotated[
    str, typer.Argument(help="A candidate, as the list shows it; champion or challenger.")
]
Why = Annotated[str, typer.Option("--why", help="For the record.")]
Gates = Annotated[
    Path | None, typer.Option("--gates", help="YAML of gate settings, over the packaged ones.")
]
MinAuc = Annotated[
    float | None, typer.Option("--min-auc", help="In place of cv.at_least of the gates.")
]
RunName = Annotated[str, typer.Argument(help="An experiment, an ensemble or a run id.")]
LabelTable = Annotated[Path, typer.Option("--labels", help="A train.csv with the true labels.")]
Profile = Annotated[
    str | None, typer.Option("--profile", help="The hardware: cpu, gpu-small ... or a YAML.")
]
Provider = Annotated[
    str | None,
    typer.Option("--provider", help="Labels and taints of nodes: gke, eks ... or a YAML."),
]
PinnedImage = Annotated[
    str | None, typer.Option("--image", help="The image of tasks: NAME@sha256:...")
]


def with_pipeline_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `pipelines.options`, and each field of its dataclasses.

    Typer reads options from a signature alone. The command gets the former as the mapping `values`,
    and dataclasses among its parameters as objects.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    flat: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name == "values":
            flat += [_parameter(key, option) for key, option in OPTIONS.items()]
        elif name in groups:
            flat += _fields(groups[name])
        else:
            flat.append(parameter.replace(annotation=hints[name]))
    flat = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in flat]

    @functools.wraps(command)
    def wrapper(**arguments: Any) -> None:
        values = {key: arguments.pop(key) for key in OPTIONS}
        for name, group in groups.items():
            keys = [field.name for field in fields(group)]
            arguments[name] = group(**{key: arguments.pop(key) for key in keys})
        command(values=values, **arguments)

    wrapper.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return wrapper


def _parameter(name: str, option: Option) -> inspect.Parameter:
    is_flag = option.type is bool
    type_: Any = option.type if is_flag else option.type | None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if is_flag else None,
        annotation=Annotated[type_, typer.Option(option.flag, help=option.help)],
    )


def _fields(group: Any) -> list[inspect.Parameter]:
    """Return the fields of a dataclass as parameters."""
    hints = get_type_hints(group, include_extras=True)
    parameters = inspect.signature(group).parameters.values()
    return [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]
