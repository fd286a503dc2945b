"""Two processes that train at once on one laptop."""

import os
import subprocess
import sys

import pytest

from ranzcr.tracking import server

pytestmark = pytest.mark.slow

EPOCHS = 60
FOLD = f"""
import sys
from ranzcr import config
from ranzcr.tracking import context
fold = int(sys.argv[1])
labels = ["a", "b"]
with context.fold_run(
    config.load("b7v3_001"), dataset_digest="d" * 64, fold=fold, labels=labels
) as run:
    for epoch in range({EPOCHS}):
        run.log_epoch(epoch, {{"loss": 1.0, "val_auc": 0.5, "auc/a": 0.5, "auc/b": 0.5}})
"""


def test_both_create_the_journal_and_no_metric_is_lost(tmp_path):
    environment = {**os.environ, "RANZCR_HOME": str(tmp_path / "home")}
    processes = [
        subprocess.Popen([sys.executable, "-c", FOLD, str(fold)], env=environment)
        for fold in (0, 1)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    client = server.connect()
    runs = client.search_runs([server.experiment_id(client)])
    kinds = sorted(run.data.tags["kind"] for run in runs)
    assert kinds == ["fold", "fold", "single"]
    for run in runs:
        assert run.info.status == "FINISHED"
        if run.data.tags["kind"] == "fold":
            assert len(client.get_metric_history(run.info.run_id, "auc/b")) == EPOCHS
