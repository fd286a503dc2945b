"""Queues on disk that keep writes to MLflow until they have arrived.

    <home>/outbox/<MLflow>/<run>-<process>-<time>/
        lock           held by the process that writes the queue, as long as it lives
        about.json     the MLflow and the run, and whether this process ends the run
        entries.jsonl  the writes, see `delivery`; appended by the process
        sent           how many bytes of it MLflow has
        files/         copies of artifacts

A thread of the writing process sends the writes in batches; the caller pays for one short append.
If a process was killed, or MLflow was away, the next process sends the rest (`recover`). Sending
twice changes nothing: metrics carry their own time and step, and all else is overwritten.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow.exceptions
import requests
from filelock import FileLock, Timeout
from mlflow import MlflowClient

from ranzcr.errors import TrackingError
from ranzcr.files import hash_json
from ranzcr.home import home
from ranzcr.tracking import delivery, place, server, settling
from ranzcr.tracking.delivery import Write
from ranzcr.tracking.names import Tag

_COLLECT = 1.0  # seconds between two looks at the queue; the writes in between are one batch
_SLOWEST = 30.0  # seconds between two tries while MLflow is away
_GRACE = 10.0  # seconds that the end of a run waits if MLflow is away
_LINES = 1000  # per delivery
_TROUBLE = (mlflow.exceptions.MlflowException, requests.RequestException)


class Queue:
    """The writes of one process to one run. One thread puts them, another one sends them."""

    def __init__(self, client: MlflowClient, folder: Path, lock: FileLock) -> None:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.run_id: str = about["run_id"]
        self.ends: bool = about["ends"]
        self.folder = folder
        self._client = client
        self._lock = lock
        self._writing, self._sending = threading.Lock(), threading.Lock()
        self._closing = threading.Event()
        self._unwritten: deque[bytes] = deque()  # lines that a full disk refused
        self._file = _opened(folder / "entries.jsonl", os.O_APPEND)
        self._sent = _opened(folder / "sent")
        self._copies = 0
        self._warnings: set[str] = set()
        self._beaten = time.monotonic()

    @classmethod
    def open(cls, client: MlflowClient, run_id: str, *, ends: bool) -> Queue:
        """Create a queue for a run, and the thread that sends it.

        Args:
            ends: whether the run ends with this process: then it is marked as KILLED if the
                process dies before it has ended the run.
        """
        name = f"{run_id}-{os.getpid()}-{time.time_ns()}"
        queues = _queues(client.tracking_uri)
        # Hidden until its lock is held, or another process would think that its owner is dead.
        folder = queues / f".{name}"
        folder.mkdir(parents=True)
        lock = _lock(folder)
        lock.acquire()
        about = {"run_id": run_id, "ends": ends, "uri": place.shown(client.tracking_uri)}
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
        queue = cls(client, folder.rename(queues / name), lock)
        threading.Thread(target=queue._serve, name=f"outbox {run_id}", daemon=True).start()
        return queue

    def put(self, *writes: Write) -> None:
        """Keep writes on disk; in memory while the disk is full."""
        lines = [f"{json.dumps(write)}\n".encode() for write in writes]
        with self._writing:
            self._unwritten.extend(lines)
            self._write()

    def put_files(self, source: Path, path: str | None) -> None:
        """Keep a copy of a file, or of a folder's files, for `path` in the run's artifacts."""
        with self._copied_to(path) as copy:
            if source.is_dir():
                shutil.copytree(source, copy, copy_function=_link_or_copy)
            else:
                copy.mkdir(parents=True)
                _link_or_copy(source, copy / source.name)

    def put_text(self, text: str, path: str) -> None:
        """Keep `text` for the artifact `path`."""
        with self._copied_to(None) as copy:
            (copy / path).parent.mkdir(parents=True)
            (copy / path).write_text(text, encoding="utf-8")

    def drain(self) -> None:
        """Send all that waits, in order. Raises the error of MLflow's client if MLflow is away."""
        with self._sending:
            while batch := self._next():
                refused = delivery.deliver(self._client, self.run_id, batch.writes, self.folder)
                self._set_aside(refused)
                self._mark(batch)

    def close(self) -> None:
        """Send what waits; if MLflow stays away, leave it on disk for the next process."""
        self._closing.set()
        end = time.monotonic() + _GRACE
        while (problem := self._try_to_send()) and time.monotonic() < end:
            time.sleep(_COLLECT)
        if problem:
            self._warn(
                f"{problem}; {self.waiting()} writes of run {self.run_id} wait in {self.folder}: "
                "the next run sends them, or ranzcr journal flush"
            )
        self.leave(sent=not problem)

    def leave(self, *, sent: bool) -> None:
        """Release the queue: delete its folder if all is sent, else leave it to other processes."""
        for file in (self._file, self._sent):
            os.close(file)
        if sent:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def waiting(self) -> int:
        """Return the number of writes that MLflow does not have yet."""
        return _waiting(self.folder) + len(self._unwritten)

    def has_ended(self) -> bool:
        """Return whether the process has ended the run."""
        with open(self.folder / "entries.jsonl", "rb") as lines:
            return any(b'"kind": "status"' in line for line in lines)

    def _serve(self) -> None:
        """Send what waits, repeatedly, until the queue is closed."""
        pause = _COLLECT
        while not self._closing.wait(pause):
            problem = self._try_to_send(beat=True)
            pause = min(2 * pause, _SLOWEST) if problem else _COLLECT
            if problem:
                self._warn(f"{problem}; work continues, and its record is kept on disk")

    def _try_to_send(self, *, beat: bool = False) -> str:
        """Send what waits; return one line about a problem, or ""."""
        try:
            with server.translated(self._client.tracking_uri):
                self.drain()
                if beat:
                    self._beat()
        except Exception as error:  # no failure of the record may stop the work
            return str(error) or type(error).__name__
        return ""

    def _beat(self) -> None:
        if not self.ends or time.monotonic() - self._beaten < settling.BEAT:
            return
        with self._sending:
            if not self._closing.is_set():  # a beat would undo the end of the run
                settling.beat(self._client, self.run_id)
                self._beaten = time.monotonic()

    def _write(self) -> None:
        """Append the lines that are not on disk yet; a line that does not fit stays in memory."""
        while self._unwritten:
            line = self._unwritten[0]
            before = os.fstat(self._file).st_size
            try:
                if os.write(self._file, line) < len(line):
                    os.ftruncate(self._file, before)
                    raise OSError("the disk is full")
            except OSError as error:
                self._warn(f"{self.folder}: {error.strerror or error}; kept in memory, free space")
                return
            self._unwritten.popleft()

    def _next(self) -> _Batch | None:
        """Return the next lines to send: those on disk first, then those in memory."""
        with self._writing:
            self._write()
            done = _sent(self.folder)
            lines = _complete_lines(self.folder, done)
            if lines:
                return _Batch(lines, done + sum(map(len, lines)))
            memory = list(self._unwritten)[:_LINES]
            return _Batch(memory, done, from_memory=True) if memory else None

    def _mark(self, batch: _Batch) -> None:
        """Record that MLflow has a batch."""
        for write in batch.writes:
            if write["kind"] == "artifacts":
                shutil.rmtree(self.folder / write["folder"], ignore_errors=True)
        if batch.from_memory:
            with self._writing:
                for _ in batch.lines:
                    self._unwritten.popleft()
            return
        os.pwrite(self._sent, f"{batch.end:020}".encode(), 0)  # in place: needs no more disk space

    def _set_aside(self, refused: Sequence[tuple[Write, str]]) -> None:
        """Keep the writes that MLflow will never accept in a file that people can read."""
        if not refused:
            return
        path = self.folder.parent / "refused.jsonl"
        with open(path, "a", encoding="utf-8") as file:
            for write, reason in refused:
                line = {"run_id": self.run_id, "reason": reason, "entry": write}
                file.write(f"{json.dumps(line)}\n")
        self._warn(f"MLflow refused writes of run {self.run_id} ({refused[0][1]}); see {path}")

    @contextlib.contextmanager
    def _copied_to(self, path: str | None) -> Iterator[Path]:
        """Yield a folder for copies, and queue them for `path` after the block.

        If the disk cannot hold them, warn and continue without these artifacts.
        """
        self._copies += 1
        folder = f"files/{self._copies:04}"
        try:
            yield self.folder / folder
        except (OSError, shutil.Error) as error:
            shutil.rmtree(self.folder / folder, ignore_errors=True)
            self._warn(f"{self.folder}: artifacts cannot be kept ({error}); free space")
            return
        self.put(delivery.artifacts(folder, path))

    def _warn(self, text: str) -> None:
        """Print a line on stderr, once."""
        if text not in self._warnings:
            self._warnings.add(text)
            print(f"ranzcr: {' '.join(text.split())}", file=sys.stderr, flush=True)


@dataclass
class _Batch:
    lines: list[bytes]
    end: int  # offset in the file after the last line
    from_memory: bool = False
    writes: list[Write] = field(init=False)

    def __post_init__(self) -> None:
        self.writes = [write for line in self.lines if (write := _parsed(line))]


def _parsed(line: bytes) -> Write | None:
    """Return the write of a line; None for a line that a power cut damaged."""
    try:
        write: Write = json.loads(line)
    except ValueError:
        return None
    return write


@dataclass(frozen=True)
class Recovery:
    """The result of `recover`."""

    sent: int  # writes
    left: int  # writes that could not be sent
    killed: tuple[str, ...]  # runs whose process had died


def recover(client: MlflowClient) -> Recovery:
    """Send what dead processes left, and mark the runs they left open as KILLED.

    Never raises because MLflow is away: writes that cannot be sent stay on disk.
    """
    sent = left = 0
    killed: list[str] = []
    for queue in _abandoned(client):
        waiting = queue.waiting()
        if not queue.has_ended() and queue.ends and not _has_another(queue):
            killed += _mark_as_killed(client, queue)
        problem = queue._try_to_send()
        left += queue.waiting()
        sent += waiting - queue.waiting() if problem else waiting
        if problem:
            queue._warn(problem)
        queue.leave(sent=not problem)
    with contextlib.suppress(TrackingError), server.translated(client.tracking_uri):
        killed += settling.reap(client)
    return Recovery(sent, left, tuple(killed))


def elsewhere(uri: str) -> Mapping[str, int]:
    """Return how many writes wait for other MLflows than `uri`, by their addresses."""
    counts: dict[str, int] = {}
    for about in sorted((home() / "outbox").glob("*/[!.]*/about.json")):
        other = json.loads(about.read_text(encoding="utf-8"))["uri"]
        if other != place.shown(uri):
            counts[other] = counts.get(other, 0) + _waiting(about.parent)
    return counts


def _mark_as_killed(client: MlflowClient, queue: Queue) -> list[str]:
    """Mark the run of a dead process as KILLED if it still is RUNNING; return its id."""
    with contextlib.suppress(*_TROUBLE), server.hurried():
        run = client.get_run(queue.run_id)
        if run.info.status != "RUNNING":
            return []
        died = (queue.folder / "entries.jsonl").stat().st_mtime
        queue.put(delivery.status("KILLED", int(died * 1000)))
        if Tag.PARENT_RUN in run.data.tags:
            queue.put(delivery.settle(run.data.tags[Tag.PARENT_RUN]))
        return [queue.run_id]
    return []


def _abandoned(client: MlflowClient) -> Iterator[Queue]:
    """Yield the queues of processes that have died, each locked by this process."""
    for folder in sorted(_queues(client.tracking_uri).glob("[!.]*/")):
        lock = _lock(folder)
        with contextlib.suppress(Timeout, OSError):
            lock.acquire(blocking=False)
            if (folder / "about.json").exists():
                yield Queue(client, folder, lock)
                continue
            lock.release()  # another process has finished it
            shutil.rmtree(folder, ignore_errors=True)


def _has_another(queue: Queue) -> bool:
    """Return whether another process continues the run of this queue."""
    others = queue.folder.parent.glob(f"{queue.run_id}-*/")
    return any(_is_locked(other) for other in others if other != queue.folder)


def _lock(folder: Path) -> FileLock:
    # Not bound to a thread: any thread may close a queue and release it.
    return FileLock(folder / "lock", thread_local=False)


def _opened(path: Path, how: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | how, 0o600)


def _is_locked(folder: Path) -> bool:
    lock = _lock(folder)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def _queues(uri: str) -> Path:
    return home() / "outbox" / hash_json(place.shown(uri))[:16]


def _sent(folder: Path) -> int:
    try:
        return int((folder / "sent").read_text())
    except (OSError, ValueError):
        return 0


def _complete_lines(folder: Path, start: int) -> list[bytes]:
    """Return at most _LINES lines from `start` on, without a last one that was cut off."""
    lines: list[bytes] = []
    with open(folder / "entries.jsonl", "rb") as file:
        file.seek(start)
        while len(lines) < _LINES and (line := file.readline()).endswith(b"\n"):
            lines.append(line)
    return lines


def _waiting(folder: Path) -> int:
    with contextlib.suppress(OSError), open(folder / "entries.jsonl", "rb") as file:
        file.seek(_sent(folder))
        return sum(line.endswith(b"\n") for line in file)
    return 0


def _link_or_copy(source: Any, copy: Any) -> None:
    """Link to the same bytes, since outputs never change; copy if the disk refuses links."""
    try:
        os.link(source, copy)
    except OSError:
        shutil.copy2(source, copy)
