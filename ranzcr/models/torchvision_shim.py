"""Lets torchvision import beside a torch that it was not built for.

PyPI's torchvision is a CUDA build: beside a CPU torch its extension does not load, two operators
are missing, and importing it fails; timm and Lightning import it. We use neither operator, so
naming them is enough.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

_OPERATORS = ("nms", "qnms")
_defined: list[torch.library.Library] = []  # an operator lives as long as its Library


def install() -> None:
    """Define torchvision's missing operators, only where its own extension cannot load."""
    if _defined or _extension_loads():
        return
    untyped: Any = torch.library
    library = untyped.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)
    _defined.append(library)


def _extension_loads() -> bool:
    operators: Any = torch.ops
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # nothing to fix
    for extension in Path(spec.origin).parent.glob("_C*"):
        try:
            operators.load_library(str(extension))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")
