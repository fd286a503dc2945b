"""Runs a command on each node of a TrainJob as long as the task that waits for it is alive.

A task that is cancelled, evicted or killed may have no time to delete its job, and its pod may stay
for days, so the owner reference does not help. But the task touches a file on the shared volume
while it waits, and nodes stop when the file is no longer touched.

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
PATIENCE = 1800.0  # seconds without a touch; longer than the task waits for the API


def main(alive: Path, command: list[str]) -> int:
    """Return the command's exit code; 0 if no task waits, or Kubernetes would restart it."""
    if os.environ.get("PET_NODE_RANK", "0") != "0":
        os.environ.pop("MLFLOW_RUN_ID", None)  # only the first node writes the run
    process = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: process.send_signal(number))
    seen, since = _sign(alive), time.monotonic()
    while True:
        try:
            code = process.wait(POLL)
            return code if code >= 0 else 128 - code  # as a shell reports a signal
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
    """Return the time of the last touch, to compare with the one before: clocks may differ."""
    try:
        return alive.stat().st_mtime
    except OSError:
        return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
