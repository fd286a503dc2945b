"""Training speed on the CPU: backbones side by side, and the engine against a bare loop.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--backbones A,B] [--sizes 96,128] [--overhead]

Prints images per second of forward + backward + AdamW, then how many times the bare loop's time
`ranzcr.training.fit` takes for the same batches. Seconds are CPU seconds: other work on the machine
does not count.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ranzcr.competitions import PHANTOM_LABELS
from ranzcr.config import DataConfig, Experiment, ModelConfig, Phase, TrainingConfig
from ranzcr.data.dataset import Dataset
from ranzcr.labels import PATIENT, UID
from ranzcr.models.network import Network
from ranzcr.training import losses, optim
from ranzcr.training.fit import fit
from ranzcr.training.loader import Loaders
from ranzcr.training.recipe import legs

_BACKBONES = (
    "test_resnet,test_efficientnet,test_byobnet,test_nfnet,resnet10t,"
    "mobilenetv3_small_050,mobilenetv3_small_075,tf_efficientnet_b0,resnet18d"
)


def images_per_second(backbone: str, size: int, batch: int, channels_last: bool) -> float:
    network = Network(ModelConfig(backbone=backbone), PHANTOM_LABELS).train()
    images = torch.randint(0, 256, (batch, 1, size, size), dtype=torch.uint8)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    targets = torch.rand(batch, len(PHANTOM_LABELS)).round()
    optimizer = optim.adamw(network, TrainingConfig(), lr=1e-3, fused=True)
    steps, began = -2, 0.0  # two to warm up
    while steps < 4 or time.process_time() - began < 1:
        if steps == 0:
            began = time.process_time()
        losses.label_loss(network(images), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    return steps * batch / (time.process_time() - began)


def made_up_dataset(studies: int, size: int) -> Dataset:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({UID: [f"u{i}" for i in range(studies)]})
    table[PATIENT] = table[UID]
    for name in PHANTOM_LABELS.names:
        table[name] = rng.integers(0, 2, studies).astype(np.int8)
    table["fold"] = (np.arange(studies) % 3).astype(np.int8)
    table = table.assign(split="train", source="competition", width=size, height=size)
    images = rng.integers(0, 256, (studies, size, size), dtype=np.uint8)
    lines = pd.DataFrame(columns=[UID, "label", "points"])
    return Dataset(Path("made-up"), PHANTOM_LABELS, table, lines, images, "0" * 64, 3)


def overhead(backbone: str, size: int, batch: int, epochs: int = 6) -> tuple[float, float]:
    """Seconds of a bare loop and of `fit` for the same epochs, validation included."""
    phase = Phase(name="train", epochs=epochs, lr=1e-3)
    experiment = Experiment(
        name="bench",
        model=ModelConfig(backbone=backbone),
        data=DataConfig(image_size=size, batch_size=batch, workers=0),
        training=TrainingConfig(recipe=(phase,)),
    )
    dataset = made_up_dataset(450, size)
    fit(experiment, dataset, fold=0)  # warms up
    began = time.process_time()
    fit(experiment, dataset, fold=0)
    engine = time.process_time() - began
    began = time.process_time()
    _bare_loop(experiment, dataset)
    return time.process_time() - began, engine


def _bare_loop(experiment: Experiment, dataset: Dataset) -> None:
    (leg,) = legs(experiment, dataset, fold=0)
    loaders = Loaders(experiment, dataset, leg)
    network = Network(experiment.model, dataset.schema).to(memory_format=torch.channels_last)
    optimizer = optim.adamw(network, experiment.training, lr=1e-3, fused=True)
    valid = loaders.valid()
    assert valid is not None
    for _ in range(leg.phase.epochs):
        network.train()
        for batch in loaders.train():
            losses.label_loss(network(batch.images), batch.targets_BL).backward()
            optimizer.step()
            optimizer.zero_grad()
        network.eval()
        with torch.inference_mode():
            for batch in valid:
                network(batch.images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", default=_BACKBONES)
    parser.add_argument("--sizes", default="96,128,160")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--overhead", action="store_true", help="only the engine's overhead")
    options = parser.parse_args()
    if not options.overhead:
        for backbone in options.backbones.split(","):
            for size in map(int, options.sizes.split(",")):
                plain = images_per_second(backbone, size, options.batch, False)
                last = images_per_second(backbone, size, options.batch, True)
                print(
                    f"{backbone:24} {size:4} px  {last:6.0f} img/s, {last / plain:.2f}x contiguous",
                    flush=True,
                )
    for backbone in ("test_efficientnet", "test_resnet", "resnet10t"):
        bare, engine = overhead(backbone, 96, options.batch)
        print(
            f"{backbone:24} fit / bare loop = {engine:.2f} s / {bare:.2f} s = {engine / bare:.2f}x"
        )


if __name__ == "__main__":
    main()
