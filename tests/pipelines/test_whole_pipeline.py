"""The whole pipeline on tiny phantoms: killed, resumed, and run again from the cache."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

pytestmark = pytest.mark.slow

SETTINGS = (
    *("--set", "data.image_size=64", "--set", "training.recipe.train.epochs=1"),
    *("--set", "training.recipe.train.warmup_epochs=0"),
)
RUN = (
    *("pipeline", "run", "competition", "--first", "smoke_a,smoke_b", "--second", "smoke_student"),
    *("--folds", "2", "--min-auc", "0", *SETTINGS),
)
RANZCR = Path(sys.executable).parent / "ranzcr"


def start(source: Path, folder: Path, *options: str) -> subprocess.Popen:
    """Start the pipeline with its results below `folder`; its output is on stderr."""
    environment = {**os.environ, "RANZCR_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [RANZCR, *RUN, "--data", str(source), *options],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    _, stderr = process.communicate()
    return process.returncode, stderr


def read_until(process: subprocess.Popen, task: str) -> str:
    """Return the output of the run until it starts the task."""
    output = ""
    assert process.stderr is not None
    for line in process.stderr:
        output += line
        if line.startswith(task) and line.endswith(": started\n"):
            return output
    raise AssertionError(f"{task} was not started:\n{output}")


def kill_tasks(process: subprocess.Popen) -> None:
    """Kill the tasks of the run, as a machine without memory would."""
    runner = psutil.Process(process.pid)
    deadline = time.monotonic() + 30
    while not runner.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    for child in runner.children(recursive=True):
        child.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def runs(competition: Path, tmp_path_factory) -> tuple[Path, dict[str, tuple[int, str]]]:
    """Run three times on one folder; return the folder, and the exit code and output per run."""
    folder = tmp_path_factory.mktemp("pipeline")
    killed = start(competition, folder)
    before = read_until(killed, "train smoke_student fold")
    kill_tasks(killed)
    code, after = finish(killed)
    return folder, {
        "killed": (code, before + after),
        "resumed": finish(start(competition, folder)),
        "again": finish(start(competition, folder)),
    }


def completed_tasks(output: str) -> list[str]:
    return re.findall(r"\] (.+): done in", output)


def test_a_killed_stage_is_named_in_the_error_of_the_run(runs):
    code, output = runs[1]["killed"]
    assert code == 2
    assert re.search(r"ranzcr: stage train smoke_student fold \d was killed \(SIGKILL\)", output)
    assert output.splitlines()[-1].startswith("ranzcr: stage train")


def test_a_rerun_resumes_after_the_finished_tasks(runs):
    code, output = runs[1]["resumed"]
    assert code == 0, output
    assert "train smoke_a fold 0: cached" in output
    killed = re.findall(r"stage (train smoke_student fold \d) was killed", runs[1]["killed"][1])
    assert killed[0] in completed_tasks(output)
    assert not [task for task in completed_tasks(output) if "smoke_a" in task or "smoke_b" in task]


def test_a_third_run_repeats_only_the_stages_that_are_never_cached(runs):
    code, output = runs[1]["again"]
    assert code == 0, output
    assert completed_tasks(output) == ["ingest", "register", "promote"]


def test_the_journal_has_a_row_per_experiment_and_for_the_ensemble(runs):
    environment = {**os.environ, "RANZCR_HOME": str(runs[0] / "home")}
    process = subprocess.run(
        [RANZCR, "journal", "show", "--format", "csv"],
        env=environment,
        capture_output=True,
        text=True,
    )
    (runs[0] / "journal.csv").write_text(process.stdout)
    rows = pd.read_csv(runs[0] / "journal.csv")
    singles = rows[rows.kind == "single"]
    assert sorted(singles.experiment) == ["smoke_a", "smoke_b", "smoke_student"]
    assert singles.cv_auc.notna().all()
    assert (singles.folds == 2).all()
    assert (rows.kind == "ensemble").sum() == 1
    assert (rows.kind == "pseudo").sum() == 1


def test_the_champion_is_promoted_once_and_its_bundle_has_a_valid_submission(runs, competition):
    environment = {**os.environ, "RANZCR_HOME": str(runs[0] / "home")}
    ledger = subprocess.run(
        [RANZCR, "registry", "ledger"], env=environment, capture_output=True, text=True
    )
    assert ledger.returncode == 0, ledger.stderr
    assert ledger.stdout.count("promote") == 1
    (submission,) = (runs[0] / "home").glob("pipelines/*/runs/**/submission.csv")
    sample = pd.read_csv(competition / "sample_submission.csv")
    submitted = pd.read_csv(submission)
    assert list(submitted.columns) == list(sample.columns)
    assert submitted.StudyInstanceUID.tolist() == sample.StudyInstanceUID.tolist()
    parity = next((runs[0] / "home").glob("pipelines/*/runs/**/parity.json"))
    assert json.loads(parity.read_text())["limit"] == 1e-4


def run_alone(name: str, folder: Path, *options: str) -> tuple[str, dict[str, str]]:
    """Run one of the smaller pipelines on the same home; return its stderr and its outputs."""
    environment = {**os.environ, "RANZCR_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [RANZCR, "pipeline", "run", name, *options, *SETTINGS],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    outputs = dict(line.split(": ", 1) for line in process.stdout.splitlines())
    return process.stderr, outputs


def test_the_smaller_pipelines_use_the_cached_results_of_competition(runs, competition):
    """Experiments that one pipeline has trained on the same data are cached for the others."""
    options = ("--data", str(competition), "--first", "smoke_a,smoke_b", "--folds", "2")
    output, results = run_alone("first-stage", runs[0], *options)
    assert completed_tasks(output) == ["ingest"]
    options = ("--dataset", results["dataset"], "--soft-labels", results["soft_labels"])
    output, _ = run_alone("second-stage", runs[0], *options, "--second", "smoke_student")
    assert completed_tasks(output) == []
    assert output.count(": cached") == 6  # plan, two folds of train and predict, evaluate


def test_changed_data_is_processed_again(runs, competition, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(competition, changed)
    table = pd.read_csv(changed / "train.csv", dtype={"StudyInstanceUID": str})
    table.loc[0, "ETT - Normal"] = 1 - table.loc[0, "ETT - Normal"]
    table.to_csv(changed / "train.csv", index=False)
    process = start(changed, runs[0])
    output = read_until(process, "train smoke_a fold")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert "prepare: done" in output
    assert "cached" not in output
