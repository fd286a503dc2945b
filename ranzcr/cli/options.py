"""Options and arguments that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

Output = Annotated[Path, typer.Option("-o", "--output", help="Where to write.", show_default=False)]
Override = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: data.batch_size=8. Repeat.")
]
Size = Annotated[int, typer.Option("--size", help="Pixels per side of the image cache.")]
Folds = Annotated[int, typer.Option("--folds", help="Patient-grouped folds.")]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same result.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Go on without unreadable images; lists them in a file.")
]
Tta = Annotated[str | None, typer.Option("--tta", help="flip or none; the model's own if not set.")]
VersionOrAlias = Annotated[
    str, typer.Argument(help="Of the candidates, as the list shows it; champion or challenger.")
]
Why = Annotated[str, typer.Option("--why", help="For the record.")]
Gates = Annotated[
    Path | None, typer.Option("--gates", help="YAML of what the gates ask; names what it changes.")
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
    str | None, typer.Option("--image", help="What tasks run in: NAME@sha256:...")
]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a pipeline, here or on a cluster: each takes some, and says so of others."""

    source: Annotated[
        str | None, typer.Option("--data", help="A folder where tasks run, s3://... or kaggle:NAME")
    ] = None
    first: Annotated[str, typer.Option("--first", help="Experiments: A,B")] = ""
    second: Annotated[
        str, typer.Option("--second", help="Experiments that learn from soft labels: C")
    ] = ""
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Of second-stage: a prepared data set.")
    ] = None
    soft_labels: Annotated[
        str | None, typer.Option("--soft-labels", help="Of second-stage: what pseudo wrote.")
    ] = None
    images: Annotated[
        str | None, typer.Option("--images", help="Of predict: a folder or s3://...")
    ] = None
    version: Annotated[
        str | None, typer.Option("--version", help="A candidate; champion or challenger.")
    ] = None
    why: Annotated[str | None, typer.Option("--why", help="Of promote: for the ledger.")] = None
    folds: Annotated[
        int | None, typer.Option("--folds", help="Patient-grouped folds; 5 if not set.")
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", help="Of the folds; 0 if not set.")] = None
    image_size: Annotated[
        int | None, typer.Option("--size", help="Of the image cache; the largest needed if not set")
    ] = None
    externals: Annotated[
        list[str] | None, typer.Option("--external", help="A folder of unlabelled images. Repeat.")
    ] = None
    blend_method: Annotated[
        str | None, typer.Option("--blend", help="weights, mean or subset; weights if not set.")
    ] = None
    gates: Gates = None
    min_auc: MinAuc = None
    skip_bad: SkipBad = False
    overrides: Override = None

    @property
    def parameters(self) -> dict[str, Any]:
        """By the names that pipelines give them; `overrides` are of the experiments, and no one."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        del given["overrides"]
        return {**given, "first": _names(self.first), "second": _names(self.second)}


def unfolded(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command each option of the dataclasses among its parameters.

    Typer reads options from a signature alone; so commands that share many would repeat them.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    flat: list[inspect.Parameter] = []
    for name, each in inspect.signature(command).parameters.items():
        own = each.replace(annotation=hints[name])
        flat += _options(groups[name]) if name in groups else [own]
    flat = [each.replace(kind=each.KEYWORD_ONLY) for each in flat]

    @functools.wraps(command)
    def folded(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    folded.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    folded.__annotations__ = {each.name: each.annotation for each in flat}
    return folded


def _options(group: Any) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters."""
    hints = get_type_hints(group, include_extras=True)
    parameters = inspect.signature(group).parameters.values()
    return [each.replace(annotation=hints[each.name]) for each in parameters]


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]
