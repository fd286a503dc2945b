"""What each node of a TrainJob runs: a command, for as long as the task that asked for it lives.

A task that is cancelled, evicted or killed may have no time to delete its job, and its pod may stay
for days, so the owner reference does not help. But it touches a file on the shared volume while it
waits, and nodes that see it no more end by themselves.

    python3 -m pipelines.trainer.node ALIVE COMMAND...
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

POLL = 5.0  # seconds
PATIENCE = 1800.0  # seconds without a sign; longer than the task bears an API that is away


def main(alive: Path, command: list[str]) -> int:
    """The command's exit code; 0 where nobody waits for it, or Kubernetes would start it again."""
    if os.environ.get("PET_NODE_RANK", "0") != "0":
        os.environ.pop("MLFLOW_RUN_ID", None)  # the run is for the first node to write
    process = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: process.send_signal(number))
    seen, since = _sign(alive), time.monotonic()
    while True:
        try:
            code = process.wait(POLL)
            return code if code >= 0 else 128 - code  # as a shell tells of a signal
        except subprocess.TimeoutExpired:
            pass
        sign = _sign(alive)
        if sign != seen:
            seen, since = sign, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            print("the task that waits for this training is gone; stopping", file=sys.stderr)
            process.terminate()
            process.wait()
            return 0


def _sign(alive: Path) -> float | None:
    """Compared with the one before, never with a clock: nodes and volume need not agree on time."""
    try:
        return alive.stat().st_mtime
    except OSError:
        return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
