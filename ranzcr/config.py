"""Experiments: typed, frozen, one YAML each.

An experiment holds everything that decides one trained model except the data. `load` reads it from
`ranzcr/experiments/<name>.yaml` or from any YAML file, follows its `extends:` and applies dotted
overrides such as `data.batch_size=8`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from ranzcr.errors import ConfigError, nearest
from ranzcr.extensions import AUGMENTATIONS, HEADS, LOSSES
from ranzcr.files import hash_json
from ranzcr.settings import Catalogue, Settings, chosen, validate

# A packaged name, or the dotted name of a class or function of your own.
Head = Annotated[str, chosen(HEADS.check)]
Augmentation = Annotated[str, chosen(AUGMENTATIONS.check)]
Loss = Annotated[str, chosen(LOSSES.check)]
Rows = Literal["train", "annotated", "soft", "external"]
# YAML reads 32 as a number
Precision = Annotated[Literal["32", "16-mixed", "bf16-mixed"], pydantic.BeforeValidator(str)]


DEFAULT_LOSS = "bce"


class ModelConfig(Settings):
    """A timm backbone -> feature map -> head -> one logit per label."""

    backbone: str = "resnet18d"  # a timm model name
    pretrained: bool = False  # weights from timm's hub, or from `weights` if set
    weights: str | None = None  # a local .safetensors or .pth file with the backbone's weights
    in_channels: Literal[1, 3] = 1
    head: Head = "gap"  # global average, global max, GeM, average + max, attention per label family
    dropout: float = pydantic.Field(0.0, ge=0, lt=1)  # before the last linear layer
    drop_path: float = pydantic.Field(0.0, ge=0, lt=1)  # stochastic depth of the backbone
    spatial_attention: bool = False  # a 1-channel gate on the feature map, before the head
    mask_decoder: bool = (
        False  # predicts the lines of each device family; trained on annotated rows
    )


class DataConfig(Settings):
    """One batch."""

    image_size: int = pydantic.Field(512, ge=32)  # pixels per side
    batch_size: int = pydantic.Field(16, ge=1)  # images per optimiser step and device
    augment: Augmentation = "warp"
    workers: int = pydantic.Field(2, ge=0)  # DataLoader processes; 0: in the training process


class Phase(Settings):
    """One leg of a recipe: which rows with which labels, at which learning rate, how long.

    `drawn` draws the annotated lines into the image: the teacher of staged training. `distill`
    names an earlier phase whose frozen model sees the drawn image while this one sees the plain
    image; the loss is then BCE + 0.5 x MSE between their feature maps (hengck23's staged training).
    """

    name: str
    rows: Rows = "train"
    labels: Literal["hard", "soft"] = "hard"
    epochs: int = pydantic.Field(1, ge=1)
    lr: float = pydantic.Field(1e-3, gt=0)  # at the end of the warm-up
    lr_end: float = pydantic.Field(0.0, ge=0)  # at the end of the phase, for cosine
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = pydantic.Field(0.0, ge=0)  # linear from lr / 100
    drawn: bool = False
    distill: str | None = None
    start: Literal["previous", "fresh"] = "previous"  # weights this phase begins with
    image_size: int | None = None  # data.image_size if None
    min_soft: float = pydantic.Field(0.0, ge=0, le=1)  # drop soft rows with no label above this
    sharpen: float | None = pydantic.Field(None, gt=0)  # temperature T applied to soft labels

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Phase:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(
                f"phase {self.name}: warmup_epochs={self.warmup_epochs} "
                f"must be < epochs={self.epochs}"
            )
        if (self.drawn or self.distill) and self.rows != "annotated":
            raise ValueError(f"phase {self.name}: drawn and distill need rows: annotated")
        if self.rows in ("soft", "external") and self.labels != "soft":
            raise ValueError(f"phase {self.name}: rows: {self.rows} have only labels: soft")
        return self


class TrainingConfig(Settings):
    """The recipe and what is the same in all of its phases."""

    recipe: tuple[Phase, ...] = (Phase(name="train", epochs=8),)
    # Left out of files and hashes while it is the default: those of older experiments stay valid.
    loss: Loss = pydantic.Field(DEFAULT_LOSS, exclude_if=lambda loss: loss == DEFAULT_LOSS)
    lr_batch: int | None = None  # learning rates are stated for this batch size and scaled linearly
    weight_decay: float = pydantic.Field(0.01, ge=0)  # AdamW
    ema_decay: float = pydantic.Field(0.0, ge=0, lt=1)  # 0: off
    precision: Precision = "32"
    accumulate: int = pydantic.Field(1, ge=1)  # batches per optimiser step
    grad_clip: float | None = pydantic.Field(None, gt=0)  # norm
    agc: float | None = pydantic.Field(None, gt=0)  # adaptive gradient clipping (Brock et al. 2021)
    mask_weight: float = pydantic.Field(50.0, ge=0)  # of the mask loss; model.mask_decoder
    early_stopping: int | None = pydantic.Field(None, ge=1)  # epochs without a better val_auc
    sync_batchnorm: bool = False  # across devices
    seed: int = pydantic.Field(0, ge=0)

    @pydantic.model_validator(mode="after")
    def _phases(self) -> TrainingConfig:
        if not self.recipe:
            raise ValueError("training.recipe is empty; give it at least one phase")
        earlier: list[str] = []
        for phase in self.recipe:
            if phase.name in earlier:
                raise ValueError(f"training.recipe has two phases named {phase.name}")
            if phase.distill is not None and phase.distill not in earlier:
                raise ValueError(
                    f"phase {phase.name}: distill={phase.distill} is not an earlier phase; "
                    f"earlier: {', '.join(earlier) or 'none'}"
                )
            earlier.append(phase.name)
        return self


class Experiment(Settings):
    """Everything that decides one trained model except the data."""

    name: str
    about: str = ""  # one line for the journal
    parent: str | None = None  # the experiment this one `extends`
    teachers: tuple[str, ...] = ()  # whose soft labels it learns from; empty: all that are given
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    tta: Literal["none", "flip"] = "none"  # test-time augmentation of its predictions

    @property
    def needs_soft_labels(self) -> bool:
        return any(phase.labels == "soft" for phase in self.training.recipe)

    def size_of(self, phase: Phase) -> int:
        """Pixels per side of the images in a phase."""
        return phase.image_size or self.data.image_size

    @property
    def largest_size(self) -> int:
        """Pixels per side that the image cache needs."""
        return max(map(self.size_of, self.training.recipe))

    def extension_sources(self) -> list[Path]:
        """The source files of the head, augmentation and loss that it names."""
        return [
            HEADS.source(self.model.head),
            AUGMENTATIONS.source(self.data.augment),
            LOSSES.source(self.training.loss),
        ]

    @property
    def config_hash(self) -> str:
        """16 hex digits that change with any setting that can change the model."""
        return hash_json(self.model_dump(mode="json", exclude={"about", "parent"}))[:16]

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        return validate(cls, json.loads(text), "experiment")


_EXPERIMENTS = Catalogue("experiment", Path(__file__).parent / "experiments", Experiment)


def names() -> list[str]:
    """The experiments that come with the package."""
    return _EXPERIMENTS.names()


def load(name: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment `name` (a packaged name or a YAML file), fully resolved.

    Args:
        name: "b7v3_001", or a path that ends in .yaml or .yml.
        overrides: "dotted.key=value" strings; values are read as YAML. A phase of the recipe is
            reached by its name: "training.recipe.warmup.epochs=3".

    Raises ConfigError for an unknown experiment, key or value, naming the nearest known one.
    """
    content = _EXPERIMENTS.read(name)
    if extends := content.pop("extends", None):
        content["parent"] = extends
    for override in overrides:
        _apply(content, override)
    return validate(Experiment, content, str(name))


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r}: expected key=value, as in data.batch_size=8")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override {override!r}: {text!r} is not a YAML value") from None
    if isinstance(value, str):
        value = _number(value)
    *parents, last = key.split(".")
    place: Any = content
    for parent in parents:
        place = _step(place, parent, key)
    if not isinstance(place, dict):
        raise ConfigError(f"override {override!r}: {key} has no settings of its own")
    place[last] = value


def _step(place: Any, word: str, key: str) -> Any:
    if isinstance(place, list):
        phases = {phase.get("name"): phase for phase in place if isinstance(phase, dict)}
        if word not in phases:
            raise ConfigError(f"no phase {word!r} in {key}; {nearest(word, map(str, phases))}")
        return phases[word]
    if not isinstance(place, dict):
        raise ConfigError(f"no setting {key!r}: {word} has no settings of its own")
    if word == "recipe" and "recipe" not in place:
        place["recipe"] = [phase.model_dump() for phase in TrainingConfig().recipe]
    return place.setdefault(word, {})


def _number(text: str) -> str | float:
    """YAML reads 5e-4 as a word; people mean the number."""
    try:
        return float(text)
    except ValueError:
        return text
