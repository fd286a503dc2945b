"""The whole pipeline with its journal on a real MLflow server, whose artifacts are on S3."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mlflow.pyfunc
import pandas as pd

RANZCR = Path(sys.executable).parent / "ranzcr"


def test_the_champion_is_served_from_the_server(competition, mlflow_server, tmp_path, monkeypatch):
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": mlflow_server,
        "RANZCR_HOME": str(tmp_path / "home"),
    }
    command = [
        *("pipeline", "run", "competition", "--data", str(competition), "--folds", "2"),
        *("--first", "smoke_a", "--second", "smoke_student", "--min-auc", "0"),
        *("--set", "data.image_size=64", "--set", "training.recipe.train.epochs=1"),
        *("--set", "training.recipe.train.warmup_epochs=0"),
    ]
    done = subprocess.run(
        [RANZCR, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "home" / "mlflow.db").exists()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    mlflow.set_tracking_uri(mlflow_server)
    model = mlflow.pyfunc.load_model("models:/ranzcr-clip@champion")
    images = sorted((competition / "test").glob("*.jpg"))[:2]
    served = model.predict(pd.DataFrame({"image": [str(path) for path in images]}))
    (submission,) = (tmp_path / "home").glob("pipelines/*/runs/**/submission.csv")
    submitted = pd.read_csv(submission).set_index("StudyInstanceUID")
    expected = submitted.loc[[path.stem for path in images]]
    assert abs(served.to_numpy() - expected.to_numpy()).max() < 1e-4
