"""An ensemble folder as export writes it, with models that are one linear layer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_ensemble(
    folder: Path,
    labels: Sequence[str],
    *,
    cache_size: int = 64,
    sizes: Sequence[int] = (64, 32),
    tta: str = "flip",
) -> Path:
    """One member of two fold models per size, weights 0.75 and 0.25."""
    members = []
    for number, size in enumerate(sizes):
        models = [f"exp{number}/fold{fold}.onnx" for fold in range(2)]
        for fold, model in enumerate(models):
            write_model(folder / model, size, len(labels), seed=10 * number + fold)
        weight = 1.0 if len(sizes) == 1 else (0.75, 0.25)[number]
        members.append(
            {"experiment": f"exp{number}", "weight": weight, "image_size": size}
            | {"tta": tta, "models": models}
        )
    described = {
        "labels": list(labels),
        "cache_size": cache_size,
        "prevalence": [0.25] * len(labels),
        "members": members,
        "dataset_digest": "d" * 64,
        "blend_digest": "b" * 64,
        "method": "weights",
    }
    (folder / "ensemble.json").write_text(json.dumps(described))
    return folder


def write_model(path: Path, size: int, labels: int, seed: int) -> None:
    """image (B, 1, S, S) 0..255 -> probability (B, L): sigmoid of a random linear layer."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 3 / (255 * size), (size * size, labels)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["image"], ["pixels"]),
        helper.make_node("MatMul", ["pixels", "weight"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, size, size])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", labels])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
