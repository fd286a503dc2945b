"""The queue on disk between a run and MLflow: no value is lost, no run stays open."""

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ranzcr.tracking import outbox, runs, server, settling
from ranzcr.tracking.names import Tag


@pytest.fixture(autouse=True)
def no_grace(monkeypatch):
    monkeypatch.setattr(outbox, "_GRACE", 0)


@pytest.fixture
def by_hand(monkeypatch):
    """No thread sends the queue: the test calls flush or recover."""
    monkeypatch.setattr(outbox.Queue, "_serve", lambda queue: None)


def opened(client, key="key", **more):
    return runs.find_or_create(client, key, "name", {"kind": "single"}, {}, **more)


def abandon(run):
    """Leave the queue as a killed process does."""
    run._sink.leave(sent=False)


def history(client, run, name="loss"):
    return [(m.step, m.value) for m in client.get_metric_history(run.run_id, name)]


def queues(home):
    return sorted(path.parent for path in (home / "home" / "outbox").glob("*/[!.]*/entries.jsonl"))


def test_a_finished_run_leaves_no_queue(journal, tmp_path):
    run = opened(journal)
    run.log_epoch(0, {"loss": 1.0})
    run.end("FINISHED")
    assert history(journal, run) == [(0, 1.0)]
    assert queues(tmp_path) == []


def test_the_queue_of_a_killed_process_is_sent_with_its_original_times(journal, by_hand, tmp_path):
    run = opened(journal)
    before = int(time.time() * 1000)
    run.log_epoch(0, {"loss": 1.0})
    after = int(time.time() * 1000)
    abandon(run)
    time.sleep(0.05)
    done = outbox.recover(journal)
    (metric,) = journal.get_metric_history(run.run_id, "loss")
    assert before <= metric.timestamp <= after
    assert (done.left, done.killed) == (0, (run.run_id,))
    assert journal.get_run(run.run_id).info.status == "KILLED"
    assert queues(tmp_path) == []


def test_a_queue_of_an_earlier_release_is_sent(journal, by_hand, tmp_path):
    """These lines are part of the format on disk, as the folder and its files are."""
    root = opened(journal, key="root", ends=False)
    root.close()
    run = opened(journal)
    run.flush()
    (folder,) = queues(tmp_path)
    lines = [
        '{"kind": "metrics", "time": 1700000000000, "step": 3, "values": {"loss": 0.5}}',
        '{"kind": "params", "values": {"cfg.a": "1"}}',
        '{"kind": "tags", "values": {"note": "text"}}',
        '{"kind": "artifacts", "folder": "files/0001", "path": "plots"}',
        '{"kind": "dataset", "name": "ranzcr", "digest": "d", "source": null, "profile": {}}',
        '{"kind": "status", "status": "FAILED", "time": 1700000001000}',
        f'{{"kind": "settle", "root": "{root.run_id}"}}',
    ]
    (folder / "files" / "0001").mkdir(parents=True)
    (folder / "files" / "0001" / "roc.txt").write_text("curve")
    with open(folder / "entries.jsonl", "a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
    abandon(run)
    assert outbox.recover(journal) == outbox.Recovery(len(lines), 0, ())
    stored = journal.get_run(run.run_id)
    (metric,) = journal.get_metric_history(run.run_id, "loss")
    assert (metric.value, metric.step, metric.timestamp) == (0.5, 3, 1_700_000_000_000)
    assert (stored.data.params, stored.data.tags["note"]) == ({"cfg.a": "1"}, "text")
    assert [item.path for item in journal.list_artifacts(run.run_id, "plots")] == ["plots/roc.txt"]
    assert stored.inputs.dataset_inputs[0].dataset.digest == "d"
    assert (stored.info.status, stored.info.end_time) == ("FAILED", 1_700_000_001_000)


def test_a_batch_that_was_sent_but_not_marked_as_sent_is_stored_once(journal, by_hand):
    run = opened(journal)
    run.log_epoch(0, {"loss": 1.0})
    run.flush()
    os.pwrite(run._sink._sent, b"0" * 20, 0)  # as if killed between the two
    abandon(run)
    outbox.recover(journal)
    assert history(journal, run) == [(0, 1.0)]


def test_a_truncated_line_is_ignored(journal, by_hand):
    run = opened(journal)
    run.log_epoch(0, {"loss": 1.0})
    os.write(run._sink._file, b'{"kind": "metrics", "time": 17')
    abandon(run)
    outbox.recover(journal)
    assert history(journal, run) == [(0, 1.0)]


def test_a_retried_run_stays_running_when_its_first_queue_is_recovered(journal, by_hand):
    first = opened(journal)
    first.log_epoch(0, {"loss": 1.0})
    abandon(first)
    second = opened(journal)
    assert outbox.recover(journal).killed == ()
    assert journal.get_run(second.run_id).info.status == "RUNNING"
    second.end("FINISHED")
    assert history(journal, first) == [(0, 1.0)]


def test_a_living_process_keeps_its_queue(journal, by_hand):
    run = opened(journal)
    run.log_epoch(0, {"loss": 1.0})
    assert outbox.recover(journal) == outbox.Recovery(0, 0, ())
    run.end("FINISHED")
    assert history(journal, run) == [(0, 1.0)]


def test_artifacts_are_copied_when_they_are_logged(journal, by_hand, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("first")
    run = opened(journal)
    run.log_artifacts(tmp_path / "out")
    run.log_text("words", "deep/b.txt")
    (tmp_path / "out" / "a.txt").unlink()
    (tmp_path / "out" / "a.txt").write_text("second")
    abandon(run)
    outbox.recover(journal)
    place = journal.download_artifacts(run.run_id, "", tmp_path)
    with open(f"{place}/a.txt") as kept, open(f"{place}/deep/b.txt") as words:
        assert (kept.read(), words.read()) == ("first", "words")


def test_a_refused_value_goes_to_a_file_and_the_rest_is_stored(journal, by_hand, tmp_path, capfd):
    run = opened(journal)
    run.log_params({"cfg.a": 1})
    run.flush()
    run.log_params({"cfg.a": 2, "cfg.b": 3})
    run.log_epoch(0, {"loss": 1.0})
    run.end("FINISHED")
    stored = journal.get_run(run.run_id)
    assert (stored.data.params, stored.data.metrics) == (
        {"cfg.a": "1", "cfg.b": "3"},
        {"loss": 1.0},
    )
    assert stored.info.status == "FINISHED"
    (refused,) = (tmp_path / "home" / "outbox").glob("*/refused.jsonl")
    line = json.loads(refused.read_text())
    assert line["entry"]["values"] == {"cfg.a": "2"}
    assert "refused" in capfd.readouterr().err


def test_the_queue_of_a_deleted_run_is_removed(journal, by_hand, tmp_path):
    run = opened(journal)
    run.log_epoch(0, {"loss": 1.0, "val_loss": 2.0})
    journal.delete_run(run.run_id)
    run.end("FINISHED")
    assert queues(tmp_path) == []


@pytest.fixture
def small_files():
    """Return a function that limits the size of files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_nothing(journal, by_hand, tmp_path, small_files, capfd):
    run = opened(journal)
    (folder,) = queues(tmp_path)
    small_files((folder / "entries.jsonl").stat().st_size + 250)
    for epoch in range(20):
        run.log_epoch(epoch, {"loss": float(epoch)})
    assert 20 < run._sink.waiting() < 30
    small_files(resource.RLIM_INFINITY)
    run.end("FINISHED")
    assert history(journal, run) == [(epoch, float(epoch)) for epoch in range(20)]
    assert "free space" in capfd.readouterr().err


def test_lines_that_the_disk_did_not_take_are_sent_from_memory(journal, by_hand):
    run = opened(journal)
    run.flush()
    put = run._sink._write
    run._sink._write = lambda: None  # the disk is full
    run.log_epoch(0, {"loss": 1.0})
    run.flush()
    run._sink._write = put
    assert history(journal, run) == [(0, 1.0)]
    assert run._sink.waiting() == 0
    run.end("FINISHED")


@given(
    acts=st.lists(
        st.sampled_from(["log", "send", "lose the answer", "away", "die and go on"]), max_size=12
    )
)
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_each_value_is_stored_once_after_any_failures(journal, by_hand, acts):
    run = opened(journal, key=f"key {time.time_ns()}")
    logged = 0
    for act in acts:
        if act == "log":
            run.log_epoch(logged, {"loss": float(logged)})
            logged += 1
        elif act == "die and go on":
            abandon(run)
            run = opened(journal, key=journal.get_run(run.run_id).data.tags[Tag.RUN_KEY])
            outbox.recover(journal)
        else:
            _try(run, lost=act == "lose the answer", away=act == "away")
    run.end("FINISHED")
    assert history(journal, run) == [(step, float(step)) for step in range(logged)]
    assert journal.get_run(run.run_id).info.status == "FINISHED"


def _try(run, *, lost, away):
    """Try to send once, with MLflow away or its answer lost."""
    with pytest.MonkeyPatch.context() as patch:
        send = MlflowClient.log_batch

        def log_batch(self, *arguments, **named):
            if not away:
                send(self, *arguments, **named)
            if away or lost:
                raise MlflowException("database is locked")

        patch.setattr(MlflowClient, "log_batch", log_batch)
        run._sink._try_to_send()


def test_the_thread_sends_and_gives_signs_of_life(journal, monkeypatch):
    monkeypatch.setattr(outbox, "_COLLECT", 0.01)
    monkeypatch.setattr(settling, "BEAT", 0.0)
    run = opened(journal)
    journal.delete_tag(run.run_id, Tag.ALIVE_AT)
    run.log_epoch(0, {"loss": 1.0})
    _wait_for(lambda: history(journal, run) == [(0, 1.0)])
    _wait_for(lambda: Tag.ALIVE_AT in journal.get_run(run.run_id).data.tags)
    run.end("FINISHED")


def _wait_for(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_run_without_signs_of_life_is_killed(journal, by_hand):
    """Its process died on another machine, with its disk."""
    root = opened(journal, key="root", ends=False)
    root.close()
    fold = runs.find_or_create(
        journal, "fold", "name", {"kind": "fold", "root_key": "root"}, {}, parent=root.run_id
    )
    fold.flush()
    journal.set_tag(fold.run_id, Tag.ALIVE_AT, str(int(time.time()) - 10_000))
    fresh = opened(journal, key="fresh")
    foreign = journal.create_run(server.experiment_id(journal))
    assert settling.reap(journal) == [fold.run_id]
    states = {run.run_id: journal.get_run(run.run_id).info.status for run in (fold, fresh, root)}
    assert states == {fold.run_id: "KILLED", fresh.run_id: "RUNNING", root.run_id: "FAILED"}
    assert journal.get_run(foreign.info.run_id).info.status == "RUNNING"


FULL_QUEUE = """
import os, sys
from ranzcr.tracking import runs, server
client = server.connect()
run = runs.find_or_create(client, "key", "name", {"kind": "single"}, {})
run.flush()
print(run.run_id, flush=True)
sys.stdin.readline()
for epoch in range(500):
    run.log_epoch(epoch, {"loss": float(epoch)})
print("logged", flush=True)
sys.stdin.readline()
"""


def test_a_process_killed_with_a_full_queue_loses_nothing(journal, tmp_path):
    environment = {**os.environ, "RANZCR_HOME": str(tmp_path / "home")}
    training = subprocess.Popen(
        [sys.executable, "-c", FULL_QUEUE],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    run_id = training.stdout.readline().strip()
    busy = sqlite3.connect(tmp_path / "home" / "mlflow.db", isolation_level=None)
    busy.execute("BEGIN EXCLUSIVE")  # nobody else writes
    training.stdin.write("\n")
    training.stdin.flush()
    assert training.stdout.readline() == "logged\n"
    os.kill(training.pid, signal.SIGKILL)
    training.wait()
    busy.close()
    flush = subprocess.run(
        [sys.executable, "-m", "ranzcr.cli", "journal", "flush"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert flush.returncode == 0, flush.stderr
    assert "sent 50" in flush.stdout
    assert "KILLED" in flush.stdout
    losses = journal.get_metric_history(run_id, "loss")
    assert [m.value for m in losses] == [float(epoch) for epoch in range(500)]
    assert journal.get_run(run_id).info.status == "KILLED"
