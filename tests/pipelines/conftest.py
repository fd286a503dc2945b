"""A small compiled pipeline, and a KFP that the command line finds."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest
from kfp_server import KfpServer

_UNSET = (
    "KF_PIPELINES_ENDPOINT",
    "KF_PIPELINES_UI_ENDPOINT",
    "KF_PIPELINES_SA_TOKEN_PATH",
    "SSL_CERT_FILE",
)
_CLIENT = ("HOST", "NAMESPACE", "TOKEN", "TOKEN_FILE", "COOKIE")


@pytest.fixture(scope="session", autouse=True)
def _stacks_of_names() -> Iterator[None]:
    """kfp asks for the stack to learn who called it, a hundred times for each pipeline.

    With files and lines, which it does not read, that is seconds where a test has all libraries.
    """
    from kfp.dsl import pipeline_task

    def stack() -> list[tuple[FrameType, None, int, str]]:
        frames = traceback.walk_stack(sys._getframe(1))
        return [(frame, None, line, frame.f_code.co_name) for frame, line in frames]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_task, "inspect", SimpleNamespace(stack=stack))
        yield


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small compiled pipeline."""
    import tiny_pipeline

    return tiny_pipeline.compile_to(tmp_path_factory.mktemp("package") / "tiny.yaml")


@pytest.fixture
def kfp_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    """A KFP for many users that takes anyone; the environment names it."""
    for name in (*_UNSET, *(f"RANZCR_KFP_{word}" for word in _CLIENT)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with KfpServer() as server:
        monkeypatch.setenv("RANZCR_KFP_HOST", server.url)
        yield server


@pytest.fixture(scope="session")
def _command():
    """The whole command line: typer takes 0.1 s to build it."""
    import typer

    from ranzcr import cli

    return typer.main.get_command(cli.app)


@pytest.fixture
def ranzcr(_command, capfd) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: (exit code, stdout, stderr)."""
    from ranzcr.errors import one_line

    def _ranzcr(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped, one_line("ranzcr"):
            _command([str(word) for word in arguments], prog_name="ranzcr")
        done = capfd.readouterr()
        return int(stopped.value.code or 0), done.out, done.err

    return _ranzcr


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits and pauses of a test's length."""
    import urllib3

    from pipelines.client import connection, runs

    monkeypatch.setattr(connection, "_LIMITS", (1, 0.3))
    monkeypatch.setattr(connection, "_RETRIES", urllib3.Retry(total=1, backoff_factor=0))
    monkeypatch.setattr(runs, "SECONDS", 0.01)
