"""Schemas from npm, for the kinds whose definitions are in no Python package and not at hand.

@kubernetes-models (MIT) compiles the operators' own Go types into checks: types, enums, patterns,
limits, required fields; no rules in CEL. schemas/package-lock.json pins them. They do not say which
version of an operator they were made from, only which version of its API.
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
    """What to install first, if anything."""
    absent = [name for name in ("node", "npm") if shutil.which(name) is None]
    return f"{' and '.join(absent)} missing; apt install nodejs npm" if absent else None


def install() -> None:
    """Fetch the locked packages, unless they are there."""
    lock, done = _FOLDER / "package-lock.json", _FOLDER / "node_modules/.package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=_FOLDER, check=True)


def problems(things: Sequence[Object]) -> list[list[str]]:
    """What is wrong with each object; their apiVersions must be in PACKAGES."""
    pairs = [(PACKAGES[thing["apiVersion"]], thing) for thing in things]
    done = subprocess.run(
        ["node", _FOLDER / "judge.js"],
        input=json.dumps(pairs),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)
