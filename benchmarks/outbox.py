"""Measure the cost of logging per training step: the outbox against MLflow's own client.

    python benchmarks/outbox.py

Both log the same 12 metrics per step to a new SQLite journal.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable

from ranzcr.tracking import delivery, runs, server

STEPS = {"outbox": 5_000, "client": 200}


def seconds_per_step(steps: int, log: Callable[[int], None]) -> float:
    start = time.perf_counter()
    for step in range(steps):
        log(step)
    return (time.perf_counter() - start) / steps


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RANZCR_HOME"] = folder
        client = server.connect()
        run = runs.find_or_create(client, "key", "benchmark", {"kind": "single"}, {})
        values = {f"auc/label {index}": index / 12 for index in range(12)}
        outbox = seconds_per_step(STEPS["outbox"], lambda step: run.log_epoch(step, values))
        start = time.perf_counter()
        run.flush()
        sent = STEPS["outbox"] * len(values) / (time.perf_counter() - start)
        direct = runs.Run(client, run.run_id)
        waiting = seconds_per_step(STEPS["client"], lambda step: direct.log_epoch(step, values))
        run.end("FINISHED")
    print(f"caller, per step of {len(values)} metrics: outbox {outbox * 1e3:.3f} ms, ", end="")
    print(f"client {waiting * 1e3:.1f} ms: {waiting / outbox:.0f} times less")
    print(f"sent afterwards, in batches of {delivery.METRICS}: {sent:.0f} metrics/s")


if __name__ == "__main__":
    main()
