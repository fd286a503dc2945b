"""Tasks in containers: failures are reported, gates hold, no container is left running."""

import os
import signal
import threading
import time

import docker_host
import pytest
from kfp import dsl
from processes import wait_until

from pipelines import local
from pipelines.local import containers
from ranzcr.errors import ConfigError, PipelineError

component = dsl.component(base_image="python-toy", install_kfp_package=False)


@pytest.fixture(autouse=True)
def _docker_daemon(host, monkeypatch):
    """Let every Docker client use the daemon of the tests."""
    monkeypatch.setenv("DOCKER_HOST", host.environment["DOCKER_HOST"])


@component
def gate(verdict: str) -> str:
    import sys

    if verdict == "fail":
        print("gate: not good enough", file=sys.stderr)
        sys.exit(2)
    if verdict == "crash":
        raise ZeroDivisionError("ours")
    if verdict == "hunger":
        hoard = []
        while True:
            hoard.append(bytearray(1 << 24))
    if verdict == "sleep":
        import time

        time.sleep(120)
    return verdict


@component
def deploy(verdict: str) -> str:
    from ranzcr.home import home

    (home() / "deployed").touch()
    return verdict


@dsl.pipeline
def guarded(verdict: str):
    deploy(verdict=gate(verdict=verdict).set_caching_options(False).output)


@pytest.fixture
def run(images, tmp_path):
    """Run gate and deploy in containers."""
    (tmp_path / "home").mkdir()

    def _run(verdict: str) -> None:
        machine = containers.Containers(images["ranzcr"], data=[], parallel=2)
        local.run(
            guarded,
            {"verdict": verdict},
            root=tmp_path / "home" / "root",
            parallel=2,
            tasks=2,
            machine=machine,
        )

    return _run


def test_a_model_that_passes_its_gate_is_deployed(run, tmp_path):
    run("pass")
    assert (tmp_path / "home" / "deployed").exists()


def test_a_stage_that_fails_at_once_fails_the_run_each_time(run, tmp_path):
    for _ in range(20):
        with pytest.raises(PipelineError, match="stage gate failed: not good enough; then run the"):
            run("fail")
    assert not (tmp_path / "home" / "deployed").exists()


def test_a_crash_in_a_container_points_to_the_log(run):
    with pytest.raises(local.StageCrash, match=r"ZeroDivisionError: ours; see .*gate"):
        run("crash")


def test_a_stage_that_runs_out_of_memory_is_reported(run, monkeypatch):
    monkeypatch.setattr(containers, "memory", lambda: 600 << 20)
    with pytest.raises(PipelineError, match="stage gate ran out of memory; give it more or"):
        run("hunger")


def test_ctrl_c_ends_the_containers(host, images, run, capfd):
    def running() -> list:
        return host.client.containers.list(all=True, filters={"ancestor": images["ranzcr"]})

    def interrupt() -> None:
        try:
            wait_until(lambda: bool(running()), "the gate's container")
        finally:  # or the run waits for the task
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run("sleep")
    assert time.monotonic() - began < 60
    assert running() == []
    assert "stopped; run the same command again" in capfd.readouterr().err


def test_the_error_for_a_missing_image_says_how_to_build_it(images):
    with pytest.raises(ConfigError, match="--image ranzcr:no: Docker has no such image; build it"):
        containers.Containers("ranzcr:no", data=[], parallel=1)


def test_an_image_without_ranzcr_is_refused(images):
    with pytest.raises(ConfigError, match="--image local/base:bookworm: it does not hold ranzcr"):
        containers.Containers(docker_host.BASE, data=[], parallel=1)
