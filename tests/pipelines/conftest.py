"""A small compiled pipeline, and a stand-in for KFP that the command line uses."""

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
def _fast_stack() -> Iterator[None]:
    """Give kfp a stack without source lines.

    kfp reads the stack about a hundred times per pipeline for the names of functions. With the
    source lines, which it does not use, that takes seconds once all libraries are imported.
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
    """A multi-user KFP that accepts everyone, and that the environment names."""
    for name in (*_UNSET, *(f"RANZCR_KFP_{word}" for word in _CLIENT)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with KfpServer() as server:
        monkeypatch.setenv("RANZCR_KFP_HOST", server.url)
        yield server


@pytest.fixture(scope="session")
def _command():
    """The whole command line, built once because typer takes 0.1 s."""
    import typer

    from ranzcr import cli

    return typer.main.get_command(cli.app)


@pytest.fixture
def ranzcr(_command, capfd) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: (exit code, stdout, stderr)."""
    from ranzcr.errors import one_line

    def _ranzcr(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped, one_line("ranzcr"):
            _command([str(argument) for argument in arguments], prog_name="ranzcr")
        output = capfd.readouterr()
        return int(stopped.value.code or 0), output.out, output.err

    return _ranzcr


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten time limits and pauses."""
    import urllib3

    from pipelines.client import connection, runs

    monkeypatch.setattr(connection, "_LIMITS", (1, 0.3))
    monkeypatch.setattr(connection, "_RETRIES", urllib3.Retry(total=1, backoff_factor=0))
    monkeypatch.setattr(runs, "SECONDS", 0.01)
