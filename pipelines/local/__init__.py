"""Run a pipeline on this machine with kfp.local's runners, a cache by content, and live output.

    cache        what finished before, keyed by content and code
    versions     the code of each task, and which tasks it makes the run redo
    runner       runs tasks on a machine, and remembers the first failure
    tasks        the name of a task, and the error it ended with
    display      lines as they come, and the bar of finished tasks
    processes    a machine whose tasks are processes
    containers   a machine whose tasks are Docker containers

kfp 2.17's local runner keys its cache by the path of an artifact, which changes with each run of an
uncached task, and prints each task's whole input. So the cache here keys artifacts by the digest
that our components write beside them, and the output of a task goes to a log file, with its own
lines shown. Both depend on kfp's internals: tests/pipelines/test_local.py fails when they change.
"""

from __future__ import annotations

import builtins
import logging
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from kfp import local
from kfp.local import cache as kfp_cache

from pipelines.local.cache import ContentCache
from pipelines.local.display import Display
from pipelines.local.processes import Machine, Processes
from pipelines.local.runner import Runner
from pipelines.local.tasks import StageCrash
from pipelines.local.versions import Versions

__all__ = ["StageCrash", "run"]


def run(
    pipeline: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    root: Path,
    parallel: int,
    tasks: int,
    machine: Machine | None = None,
    versions: Versions | None = None,
) -> None:
    """Run `pipeline` to its end, or raise at the first stage that fails.

    Args:
        root: holds `cache/` and `runs/`; a rerun with the same root resumes from the cache.
        parallel: tasks at a time in a loop; kfp.local runs at most 2.
        tasks: how many there will be, for the progress bar.
        machine: runs the tasks; processes with our own environment if None.
        versions: of the code of the tasks; read from the machine if None.

    Raises PipelineError, with the stage and its own message, if the user can fix it; else
    StageCrash.
    """
    machine = machine or Processes()
    versions = versions or Versions(lambda stage, _experiment: machine.code_of(stage))
    for folder in ("cache", "runs"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    logs = root / "logs" / time.strftime("%Y%m%d-%H%M%S")
    logs.mkdir(parents=True, exist_ok=True)
    with Display(tasks) as display, open(logs / "kfp.log", "w", buffering=1) as kfp_log:
        runner = Runner(display, logs, parallel, machine, versions)
        with _kfp(root, runner, versions, kfp_log), redirect_stdout(kfp_log), _stopping(runner):
            try:
                pipeline(**arguments)
            except RuntimeError as error:
                if runner.failure is None:  # an error of kfp, which only its log describes
                    raise StageCrash(_error_of_kfp(logs / "kfp.log")) from error
            except KeyboardInterrupt:
                display.line("stopped; run the same command again to resume from the cache")
                raise
            finally:
                versions.save()
        if runner.failure is not None:
            raise runner.failure


def _error_of_kfp(log: Path) -> str:
    """Return the last error that kfp logged, with the name of the log."""
    errors = [line.strip() for line in log.read_text().splitlines() if "exception" in line]
    return f"kfp: {errors[-1] if errors else 'the pipeline failed'}; see {log}"


@contextmanager
def _stopping(runner: Runner) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the running tasks, for which kfp's threads would wait.

    A second one kills them; it must not interrupt kfp, whose threads still write output.
    """

    def stop(_number: int, _frame: object) -> None:
        if isinstance(runner.failure, KeyboardInterrupt):
            runner.stop(signal.SIGKILL)
            return
        runner.stop(signal.SIGTERM)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _kfp(root: Path, runner: Runner, versions: Versions, kfp_log: TextIO) -> Iterator[None]:
    """Set up kfp.local with our cache and our runner, and restore it afterwards."""
    workspace = tempfile.mkdtemp(prefix="ranzcr-")  # kfp deletes it after every run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local.init(
            runner.machine.kfp_runner(),
            pipeline_root=str(root / "runs"),
            workspace_root=workspace,
            enable_caching=True,
            cache_root=str(root / "cache"),
        )
    kfp_cache._cache_singleton = ContentCache(str(root / "cache"), runner.cached, versions)
    kfp_cache._cache_singleton_root = str(root / "cache")
    # kfp replaces and restores these around each task, and its threads restore each other's.
    logger = logging.getLogger()
    level, handlers, original_print = logger.level, logger.handlers[:], builtins.print
    logger.handlers[:] = [logging.StreamHandler(kfp_log)]
    try:
        with runner.machine.handing_to(runner.execute):
            yield
    finally:
        logger.level, logger.handlers[:] = level, handlers
        builtins.print = original_print
        kfp_cache.reset_local_cache_singleton()
        shutil.rmtree(workspace, ignore_errors=True)
