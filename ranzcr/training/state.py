"""The state of a run, in one file that is replaced as a whole: a killed run resumes from it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ranzcr.errors import ConfigError, DataError

NAME = "state.pt"  # in the resume folder
_OWN = "ranzcr"  # our part of the file; in mid-phase the rest is a Lightning checkpoint
_OF_LIGHTNING = "pytorch-lightning_version"

Epoch = dict[str, Any]  # one entry of the history: epoch, phase, loss, val_loss, val_auc, lr
Weights = dict[str, Tensor]


@dataclass
class RunState:
    """Plain values and tensors only, so that reading a file of it runs no code."""

    key: str  # of experiment, data and fold: a state fits only the run that wrote it
    phase: int = 0  # the one to train, or in training
    weights: Weights | None = None  # at the end of the phase before
    finished: dict[str, Weights] = field(default_factory=dict)  # of phases that others distill
    logits_NL: Tensor | None = None  # of the fold's rows, at the end of the phase before
    valid_auc: float = float("nan")
    history: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0  # of all epochs
    train_seconds: float = 0.0  # without validation
    images: int = 0  # trained on

    def own_part(self) -> dict[str, Any]:
        return {_OWN: {item.name: getattr(self, item.name) for item in fields(self)}}

    def save(self, folder: Path) -> None:
        """Write the state between two phases."""
        beside = beside_in(folder)
        torch.save(self.own_part(), beside)
        beside.replace(folder / NAME)


def beside_in(folder: Path) -> Path:
    """Return the path of a state that is being written, before it replaces the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{NAME}.partial"


def open_state(folder: Path | None, key: str) -> tuple[RunState, Path | None]:
    """Return the state to resume, and the Lightning checkpoint if a phase was interrupted.

    Raises ConfigError if the folder belongs to another run, DataError if it is damaged.
    """
    if folder is None or not (folder / NAME).is_file():
        return RunState(key), None
    path = folder / NAME
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = RunState(**content[_OWN])
    except Exception as error:  # what torch.load raises for damage has no common ancestor
        raise DataError(
            f"{path}: damaged ({type(error).__name__}); delete it to train from the beginning"
        ) from None
    if state.key != key:
        raise ConfigError(
            f"{path}: of another experiment, data set or fold; give another folder or delete it"
        )
    return state, path if _OF_LIGHTNING in content else None
