"""Where the tasks of a run read data: on this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ranzcr.errors import ConfigError, DataError

FOLDERS = {"dataset": "dataset_digest", "soft_labels": "soft_digest"}  # and what names the content


class Place(Protocol):
    """Turns what was asked for into what tasks can read there."""

    @property
    def settled(self) -> frozenset[str]:
        """Parameters that are not for the user to give."""

    def source(self, option: str, given: str) -> str:
        """A URI or a folder of images."""

    def made(self, option: str, parameter: str, given: str) -> dict[str, Any]:
        """What other stages made: the parameters for it. `parameter` is one of FOLDERS."""


class Here:
    """This machine: a folder must be there, and what it holds can be looked at."""

    settled = frozenset({"code", "devices", *FOLDERS.values()})

    def source(self, option: str, given: str) -> str:
        """The same; a folder by its real path, since tasks may run elsewhere."""
        if not is_folder(given):
            return given
        if not Path(given).is_dir():
            raise DataError(f"{given}: no such folder; make one with ranzcr data phantom {given}")
        return str(Path(given).resolve())

    def made(self, option: str, parameter: str, given: str) -> dict[str, Any]:
        folder = Path(given).resolve()
        return {parameter: str(folder), FOLDERS[parameter]: _digest(parameter, folder)}


@dataclass(frozen=True)
class Cluster:
    """A cluster: nothing can be looked at, and no folder of this machine is there.

    `tell` gets a line where a folder is here, too, and could be meant.
    """

    tell: Callable[[str], None]
    settled: frozenset[str] = frozenset()  # the compiled pipeline has no such parameter

    def source(self, option: str, given: str) -> str:
        if is_folder(given):
            if not Path(given).is_absolute():
                raise ConfigError(
                    f"{option} {given}: the cluster cannot read a folder of this machine; give "
                    "s3://..., kaggle:NAME or a folder of its volume, such as /srv/data"
                )
            if Path(given).exists():
                self.tell(f"{option} {given}: read on the cluster, not on this machine")
        return given

    def made(self, option: str, parameter: str, given: str) -> dict[str, Any]:
        if "://" not in given:
            raise ConfigError(
                f"{option} {given}: a cluster takes it from KFP's artifact store; give its URI "
                "there, such as s3://... or minio://..."
            )
        return {parameter: given}


def is_folder(source: str) -> bool:
    return "://" not in source and not source.startswith("kaggle:")


def _digest(parameter: str, folder: Path) -> str:
    """Of a data set, or of soft labels."""
    if parameter == "dataset":
        from ranzcr.data.dataset import read_description

        return read_description(folder)["digest"]
    from ranzcr.soft_labels import SoftLabels

    return SoftLabels.open(folder).digest
