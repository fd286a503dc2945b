"""Profiles and providers: the hardware of each stage, and the nodes of a cluster.

profiles/<name>.yaml   which hardware there is and which stage gets which; may `extends:` another
providers/<name>.yaml  the nodes of one kind of cluster: labels, taints, and whether they scale
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic

import components
from pipelines.conventions import POOLS, QUEUES, SECRETS
from ranzcr.errors import ConfigError, nearest
from ranzcr.settings import Catalogue, Settings

PROFILES = Path(__file__).with_name("profiles")
PROVIDERS = Path(__file__).with_name("providers")
_COMPONENTS = Path(components.__file__).parent.glob("*.py")
STAGES = tuple(sorted({path.stem for path in _COMPONENTS} - {"__init__", "image"}))


def _quantity(text: str) -> str:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?", text):
        raise ValueError("expected a quantity of Kubernetes, such as 500m or 4Gi")
    return text


_Quantity = Annotated[str, pydantic.AfterValidator(_quantity)]
_Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class Range(Settings):
    """The guaranteed amount of a resource, and its limit."""

    request: _Quantity
    limit: _Quantity


class Gpu(Settings):
    type: str  # as the providers name it: l4, a100
    count: int = pydantic.Field(ge=1)


class Hardware(Settings):
    """The resources of one pod, and its time limit and retries."""

    cpu: Range
    memory: Range  # shm counts against its limit
    gpu: Gpu | None = None  # of each node
    nodes: int = pydantic.Field(1, ge=1)  # above 1 the training is a TrainJob
    shm: _Quantity | None = None  # /dev/shm, where DataLoader workers hand over batches
    pool: Literal[POOLS] | None = None  # type: ignore[valid-type]  # of nodes, by their label
    spot: bool = False  # nodes that the provider may reclaim
    queue: Literal[QUEUES] | None = None  # type: ignore[valid-type]  # a Kueue LocalQueue
    timeout_minutes: int = pydantic.Field(ge=1)
    retries: int = pydantic.Field(ge=0)
    backoff_seconds: int = pydantic.Field(ge=1)  # before the first retry; then times 1.5

    @property
    def devices(self) -> int:
        """Return the GPUs of a node; 1 if it has none, for one process."""
        return self.gpu.count if self.gpu else 1


class Profile(Settings):
    """The hardware and the secrets of each stage, by name."""

    name: str
    about: str = ""
    volume: str | None  # a claim that many nodes may write: RANZCR_HOME; None: only object storage
    hardware: dict[str, Hardware]
    default: str  # hardware of the stages that `stages` does not list
    stages: dict[Literal[STAGES], str]  # type: ignore[valid-type]
    secrets: dict[Literal[tuple(SECRETS)], tuple[Literal[STAGES], ...]]  # type: ignore[valid-type]

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Profile:
        names = {f"stages.{stage}": name for stage, name in self.stages.items()}
        for key, name in {"default": self.default, **names}.items():
            if name not in self.hardware:
                raise ValueError(f"{key}: no hardware {name!r}; {nearest(name, self.hardware)}")
        if self.of("train").spot and self.volume is None:
            raise ValueError("a training on spot nodes needs a volume that keeps its last epoch")
        self._check_nodes()
        return self

    def _check_nodes(self) -> None:
        several = [stage for stage in STAGES if self.of(stage).nodes > 1]
        others = [stage for stage in several if stage != "train"]
        if others:
            hardware = self.stages.get(others[0], self.default)
            raise ValueError(
                f"stages.{others[0]}: hardware {hardware!r} has several nodes, "
                "which only train can use"
            )
        if several and self.volume is None:
            raise ValueError("a training over several nodes needs a volume that they share")

    def of(self, stage: str) -> Hardware:
        return self.hardware[self.stages.get(stage, self.default)]

    def secrets_of(self, stage: str) -> list[str]:
        return [secret for secret, stages in self.secrets.items() if stage in stages]


class Taint(Settings):
    key: str
    value: str
    effect: _Effect


class Nodes(Settings):
    """Labels and taints of a kind of node."""

    labels: dict[str, str] = pydantic.Field(default={})
    taints: tuple[Taint, ...] = ()


class GpuNodes(Nodes):
    resource: str  # that a pod requests
    types: dict[str, dict[str, str]] | None = None  # labels by type; None if the pool decides


class Provider(Settings):
    """The labels and taints of one kind of cluster."""

    name: str
    about: str = ""
    autoscaled: bool = False  # nodes are added on demand, so a pool may be empty
    gpu: GpuNodes
    spot: Nodes = Nodes()

    def labels(self, hardware: Hardware) -> dict[str, str]:
        """Return the node selector without the pool. Raises ConfigError for an unknown GPU type."""
        labels: dict[str, str] = {}
        if hardware.gpu:
            labels |= {**self.gpu.labels, **self._type(hardware.gpu.type)}
        return {**labels, **self.spot.labels} if hardware.spot else labels

    def taints(self, hardware: Hardware) -> tuple[Taint, ...]:
        """Return the taints that a pod must tolerate."""
        gpu = self.gpu.taints if hardware.gpu else ()
        return (*gpu, *self.spot.taints) if hardware.spot else gpu

    def _type(self, name: str) -> dict[str, str]:
        if self.gpu.types is None:
            return {}
        if name not in self.gpu.types:
            raise ConfigError(
                f"provider {self.name} has no GPU type {name!r}; {nearest(name, self.gpu.types)}"
            )
        return self.gpu.types[name]


_PROFILES = Catalogue("profile", PROFILES, Profile)
_PROVIDERS = Catalogue("provider", PROVIDERS, Provider)


def profiles() -> list[str]:
    """Return the names of the packaged profiles."""
    return _PROFILES.names()


def providers() -> list[str]:
    """Return the names of the packaged providers."""
    return _PROVIDERS.names()


def profile(name: str) -> Profile:
    """Load a profile by its name or its YAML file. Raises ConfigError for any mistake in it."""
    return _PROFILES.load(name)


def provider(name: str) -> Provider:
    """Load a provider by its name or its YAML file. Raises ConfigError for any mistake in it."""
    return _PROVIDERS.load(name)
