"""Run the command of a rendered container as a kubelet would, on this machine without its image.

Variables come from the rendered ConfigMaps and from the test's own Secrets, volumes become
folders, $(NAME) is expanded. The image, its user and its limits are ignored.
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
    """Runs containers of one overlay, with the values that must differ on this machine.

    Args:
        objects: a rendered overlay.
        secrets: name -> keys and values.
        root: folder for the volumes.
        replacements: text in commands -> its replacement here, such as another port.
        variables: values that replace those of the ConfigMaps.
        path: folder of programs, searched before those in PATH.
    """

    objects: Sequence[Object]
    secrets: Mapping[str, Mapping[str, str]]
    root: Path
    replacements: Mapping[str, str]
    variables: Mapping[str, str]
    path: Path

    def run(
        self, pods: Pods, container: str, *, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the container's command to its end; `variables` override its environment."""
        result = self._run(pods, pods.container(container), variables)
        assert result.returncode == 0 or not check, result.stderr
        return result

    def probe(self, pods: Pods, container: str, kind: str) -> subprocess.CompletedProcess[str]:
        """Run an exec probe of the container once."""
        target = pods.container(container)
        command = target[kind]["exec"]["command"]
        return self._run(pods, {**target, "command": command, "args": []}, {})

    def _run(
        self, pods: Pods, container: Object, variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        command, environment = self.prepare(pods, container, **variables)
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    def prepare(
        self, pods: Pods, container: Object, **variables: str
    ) -> tuple[list[str], dict[str, str]]:
        """Return the command line and the environment of a container."""
        values = {**self._variables(container), **self.variables, **variables}
        folders = self._folders(pods, container)
        words = [
            re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], word)
            for word in [*container["command"], *container.get("args", [])]
        ]
        environment = {name: _replaced(value, folders) for name, value in values.items()}
        return (
            [_replaced(word, {**self.replacements, **folders}) for word in words],
            {
                **os.environ,
                **environment,
                "PATH": os.pathsep.join([str(self.path), str(_BIN), os.environ["PATH"]]),
            },
        )

    def _variables(self, container: Object) -> dict[str, str]:
        variables: dict[str, str] = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                name = source["configMapRef"]["name"]
                variables |= find(self.objects, f"ConfigMap/{name}")["data"]
            else:
                variables |= self.secrets[source["secretRef"]["name"]]
        return variables | {entry["name"]: entry["value"] for entry in container.get("env", [])}

    def _folders(self, pods: Pods, container: Object) -> dict[str, str]:
        """Map mount paths to folders; the containers of a pod share its volumes."""
        volumes = {volume["name"]: volume for volume in pods.spec["volumes"]}
        return {
            mount["mountPath"]: str(self._folder(pods, volumes[mount["name"]]))
            for mount in container["volumeMounts"]
        }

    def _folder(self, pods: Pods, volume: Object) -> Path:
        folder = self.root / pods.name / volume["name"]
        folder.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            files = find(self.objects, f"ConfigMap/{volume['configMap']['name']}")["data"]
            for name, text in files.items():
                (folder / name).write_text(text)
        return folder


def _replaced(text: str, replacements: Mapping[str, str]) -> str:
    """Replace whole words and paths of the text."""
    words = "|".join(map(re.escape, replacements))
    return re.sub(rf"(?<!\w)({words})(?!\w)", lambda match: replacements[match[0]], text)
