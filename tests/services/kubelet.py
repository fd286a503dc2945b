"""Runs the command of a rendered container as a kubelet would, on this machine, without its image.

Its variables come from the rendered ConfigMaps and from Secrets that the test makes up, volumes
become folders, $(NAME) is expanded. What is not looked at: the image, its user, its limits.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests import Object, Pods, find

_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Kubelet:
    """A place for the volumes of pods, and the words of commands that must differ here.

    Args:
        objects: a rendered overlay.
        secrets: name -> keys and values.
        root: where volumes are put.
        elsewhere: text of commands -> what stands for it here, such as a port.
        variables: values that this machine has in place of the ConfigMaps'.
        path: a folder of programs before all others.
    """

    objects: Sequence[Object]
    secrets: Mapping[str, Mapping[str, str]]
    root: Path
    elsewhere: Mapping[str, str]
    variables: Mapping[str, str]
    path: Path

    def run(
        self, pods: Pods, container: str, *, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """The container's command to its end; `variables` are as `kubectl set env` sets them."""
        command, environment = self.prepare(pods, pods.container(container), **variables)
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        assert done.returncode == 0 or not check, done.stderr
        return done

    def probe(self, pods: Pods, container: str, kind: str) -> subprocess.CompletedProcess[str]:
        """An exec probe of the container, once."""
        probed = pods.container(container)
        command = {**probed, "command": probed[kind]["exec"]["command"], "args": []}
        argv, environment = self.prepare(pods, command)
        return subprocess.run(argv, check=False, capture_output=True, text=True, env=environment)

    def prepare(
        self, pods: Pods, container: Object, **variables: str
    ) -> tuple[list[str], dict[str, str]]:
        """The command line and the environment of a container."""
        told = {**self._told(container), **self.variables, **variables}
        places = self._places(pods, container)
        words = [
            re.sub(r"\$\((\w+)\)", lambda name: told[name[1]], word)
            for word in [*container["command"], *container.get("args", [])]
        ]
        environment = {name: _moved(value, places) for name, value in told.items()}
        return (
            [_moved(word, {**self.elsewhere, **places}) for word in words],
            {
                **os.environ,
                **environment,
                "PATH": os.pathsep.join([str(self.path), str(_BIN), os.environ["PATH"]]),
            },
        )

    def _told(self, container: Object) -> dict[str, str]:
        variables: dict[str, str] = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                name = source["configMapRef"]["name"]
                variables |= find(self.objects, f"ConfigMap/{name}")["data"]
            else:
                variables |= self.secrets[source["secretRef"]["name"]]
        return variables | {it["name"]: it["value"] for it in container.get("env", [])}

    def _places(self, pods: Pods, container: Object) -> dict[str, str]:
        """Mount path -> the folder that stands for it; a pod's containers share its volumes."""
        volumes = {volume["name"]: volume for volume in pods.spec["volumes"]}
        return {
            mount["mountPath"]: str(self._folder(pods, volumes[mount["name"]]))
            for mount in container["volumeMounts"]
        }

    def _folder(self, pods: Pods, volume: Object) -> Path:
        folder = self.root / pods.name / volume["name"]
        folder.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            told = find(self.objects, f"ConfigMap/{volume['configMap']['name']}")["data"]
            for name, text in told.items():
                (folder / name).write_text(text)
        return folder


def _moved(text: str, places: Mapping[str, str]) -> str:
    known = "|".join(map(re.escape, places))
    return re.sub(rf"(?<!\w)({known})(?!\w)", lambda found: places[found[0]], text)
