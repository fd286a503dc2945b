"""A rollback as a share of the 5 seconds that it may take, on a registry with a long history.

python benchmarks/rollback.py [acts]     # on SQLite, or where MLFLOW_TRACKING_URI points: an EMPTY
                                         # registry, which it fills
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ranzcr.registry import candidates, ledger, registry
from ranzcr.registry.candidates import CANDIDATES
from ranzcr.registry.sealed import seal
from ranzcr.tracking import server

ALLOWED = 5.0  # seconds
RANZCR = Path(sys.executable).parent / "ranzcr"


def main() -> None:
    acts = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RANZCR_HOME"] = folder
        fill(acts)
        begun = time.perf_counter()
        registry.rollback(why="benchmark")
        function = time.perf_counter() - begun
        begun = time.perf_counter()
        subprocess.run([RANZCR, "registry", "rollback", "--why", "benchmark"], check=True)
        command = time.perf_counter() - begun
    print(f"rollback after {acts} acts, of the {ALLOWED:.0f} s allowed:")
    print(f"  function {function / ALLOWED:.0%} ({function:.2f} s)")
    print(f"  command  {command / ALLOWED:.0%} ({command:.2f} s, start of the program included)")


def fill(acts: int) -> None:
    """Promote two candidates without a model in turn."""
    client = server.connect()
    candidates.ensure_model(client, CANDIDATES)
    run = client.create_run(server.experiment_id(client))
    judged = {"registered_by": "Ada", "judged_by": "Ada", "judged": ledger.now()}
    report = seal({"result": "pass", "gates": [], **judged})
    for _ in range(2):
        source = f"{run.info.artifact_uri}/model"
        tags = {"gate_report": report, "digest": "d"}
        client.create_model_version(CANDIDATES, source, run.info.run_id, tags=tags)
    for act in range(acts):
        registry.promote(str(act % 2 + 1), who="Ada", why="benchmark")


if __name__ == "__main__":
    main()
