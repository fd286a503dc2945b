"""Schemas from npm, for kinds that no Python package and no local definition covers.

@kubernetes-models (MIT) compiles the operators' own Go types into checks: types, enums, patterns,
limits, required fields; no rules in CEL. schemas/package-lock.json pins them. The packages name the
version of an operator's API, not the version of the operator.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from manifests import Object

PACKAGES = {
    "external-secrets.io/v1": "@kubernetes-models/external-secrets",
    "karpenter.k8s.aws/v1": "@kubernetes-models/karpenter",
    "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator",
}
_FOLDER = Path(__file__).parent / "schemas"


def missing() -> str | None:
    """Return a message about the programs to install first, or None."""
    absent = [name for name in ("node", "npm") if shutil.which(name) is None]
    return f"{' and '.join(absent)} missing; apt install nodejs npm" if absent else None


def install() -> None:
    """Fetch the locked packages, unless they are there."""
    lock, installed = _FOLDER / "package-lock.json", _FOLDER / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=_FOLDER, check=True)


def problems(things: Sequence[Object]) -> list[list[str]]:
    """Return the errors of each object; their apiVersions must be in PACKAGES."""
    pairs = [(PACKAGES[thing["apiVersion"]], thing) for thing in things]
    result = subprocess.run(
        ["node", _FOLDER / "judge.js"],
        input=json.dumps(pairs),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(result.stdout)
