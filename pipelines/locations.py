"""Locations of the data that tasks read: on this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipelines.options import FOLDERS, flag
from ranzcr.errors import ConfigError, DataError


class DataLocation(Protocol):
    """Turns the user's arguments into arguments that tasks can read."""

    @property
    def settled(self) -> frozenset[str]:
        """Return the parameters that the user may not give."""

    def source(self, parameter: str, source: str) -> str:
        """Return a URI or a folder of images."""

    def output(self, parameter: str, folder: str) -> dict[str, str]:
        """Return the arguments for the output of another run; `parameter` is one of FOLDERS."""


class ThisMachine:
    """Folders of this machine, which must exist."""

    settled = frozenset({"code", "devices", *FOLDERS.values()})

    def source(self, parameter: str, source: str) -> str:
        if not is_folder(source):
            return source
        if not Path(source).is_dir():
            raise DataError(f"{source}: no such folder; make one with ranzcr data phantom {source}")
        return str(Path(source).resolve())  # tasks may run in another working folder

    def output(self, parameter: str, folder: str) -> dict[str, str]:
        path = Path(folder).resolve()
        return {parameter: str(path), FOLDERS[parameter]: _digest(parameter, path)}


@dataclass(frozen=True)
class RemoteCluster:
    """A cluster, which cannot read folders of this machine and whose data cannot be checked.

    `report` gets a line if a folder exists on this machine too.
    """

    report: Callable[[str], None]
    settled: frozenset[str] = frozenset()  # a compiled pipeline has no such parameter

    def source(self, parameter: str, source: str) -> str:
        if is_folder(source):
            if not Path(source).is_absolute():
                raise ConfigError(
                    f"{flag(parameter)} {source}: the cluster cannot read a folder of this "
                    "machine; give s3://..., kaggle:NAME or a folder of its volume, such as "
                    "/srv/data"
                )
            if Path(source).exists():
                self.report(f"{flag(parameter)} {source}: read on the cluster, not on this machine")
        return source

    def output(self, parameter: str, folder: str) -> dict[str, str]:
        if "://" not in folder:
            raise ConfigError(
                f"{flag(parameter)} {folder}: a cluster takes it from KFP's artifact store; give "
                "its URI there, such as s3://... or minio://..."
            )
        return {parameter: folder}


def is_folder(source: str) -> bool:
    return "://" not in source and not source.startswith("kaggle:")


def _digest(parameter: str, folder: Path) -> str:
    if parameter == "dataset":
        from ranzcr.data.dataset import DatasetDescription

        return DatasetDescription.read(folder).digest
    from ranzcr.soft_labels import SoftLabels

    return SoftLabels.open(folder).digest
