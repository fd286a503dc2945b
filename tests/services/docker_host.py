"""A Docker daemon for the tests, base images, and a package index, without any image registry.

The base images come from debootstrap and this machine's own Debian mirror.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from docker.client import DockerClient
from docker.models.containers import Container
from processes import free_ports, running, wait_until

REPOSITORY = Path(__file__).parent.parent.parent
BASE, BUILDER = "local/base:bookworm", "local/builder:bookworm"
CERTIFICATES = "ca.pem"
SECRET = secrets.token_hex(16)
PACKAGES = "python3,python3-venv,ca-certificates"
BUILD_PACKAGES = (  # installed for python3-venv; the base of the images must not have them
    *("python3-venv", "python3.11-venv", "python3-pip-whl", "python3-setuptools-whl"),
    *("python3-distutils", "python3-lib2to3"),
)
WASTE = ("var/cache/apt/archives", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man")


def missing() -> str:
    """Return a message if this machine cannot run a daemon, else an empty string."""
    if os.getuid() != 0:
        return "running a Docker daemon needs root"
    absent = [name for name in ("dockerd", "debootstrap") if not shutil.which(name)]
    return f"no {absent[0]}; apt install docker.io debootstrap" if absent else ""


class DockerHost:
    """A running daemon with the base images."""

    def __init__(self, address: str) -> None:
        self.environment = {"DOCKER_HOST": address}

    @cached_property
    def client(self) -> DockerClient:
        return DockerClient(base_url=self.environment["DOCKER_HOST"], timeout=120)

    def build(self, pip_conf: Path) -> dict[str, str]:
        """Build all images with Docker; return their tags by name."""
        return build(pip_conf, BUILD_WITH="docker", **self.environment)

    @contextmanager
    def container(
        self, image: str, *command: str, environment: Mapping[str, str] | None = None, **options
    ) -> Iterator[Container]:
        """Run a container with few rights, on this machine's network; remove it afterwards."""
        container = self.client.containers.run(
            image,
            list(command) or None,
            detach=True,
            environment=dict(environment or {}),
            network_mode="host",
            read_only=True,
            tmpfs={"/tmp": "exec"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            **options,
        )
        try:
            yield container
        finally:
            container.remove(force=True)


def build(pip_conf: Path, *names: str, **environment: str) -> dict[str, str]:
    """Build images as `make images` does, on the local bases; return their tags by name."""
    settings = {
        **{"BASE": BASE, "BUILDER": BUILDER, "FLAGS": "--network=host"},
        **{"PIP_CONF": str(pip_conf), "CA": str(pip_conf.with_name(CERTIFICATES))},
    }
    result = subprocess.run(
        [sys.executable, REPOSITORY / "docker" / "build.py", *names],
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-5000:]
    return {tag.split(":")[0]: tag for tag in result.stdout.split()}


def holds_secret(*folders: Path) -> bool:
    """Return True if any file under `folders` contains the build secret."""
    grep = ["grep", "--recursive", "--devices=skip", "--quiet", "--fixed-strings"]
    result = subprocess.run([*grep, SECRET, *folders], capture_output=True, text=True)
    assert result.returncode in (0, 1), result.stderr
    return result.returncode == 0


@contextmanager
def serving() -> Iterator[DockerHost]:
    """Run a daemon with the base images; remove everything afterwards."""
    with tempfile.TemporaryDirectory(prefix="ranzcr-docker-", dir="/var/tmp") as name:
        folder = Path(name)
        command = [
            *("dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none"),
            *("--data-root", folder / "data", "--exec-root", folder / "run"),
            *("--pidfile", folder / "pid", "--host", f"unix://{folder}/socket"),
        ]
        log = folder / "dockerd.log"
        namespace = folder / "run" / "netns" / "default"  # a daemon leaves its network mounted
        with _unmounting(namespace), running(command, log):
            host = DockerHost(f"unix://{folder}/socket")
            wait_until((folder / "socket").exists, f"dockerd; see {log}")
            wait_until(host.client.ping, f"dockerd; see {log}")
            _make_bases(host, folder / "root")
            yield host


@contextmanager
def pip_configuration(folder: Path) -> Iterator[Path]:
    """Write a pip.conf with this machine's index, and its certificates beside it, for a build.

    Both contain SECRET. If pip here finds wheels in a folder, a server on loopback offers them,
    like an index in a closed network.
    """
    lines = ["[global]", f"# {SECRET}"]
    with ExitStack() as stack:
        for links in _pip_setting("find-links"):
            (port,) = free_ports(1)
            command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
            stack.enter_context(running([*command, "--directory", links], folder / "index.log"))
            lines.append(f"find-links = http://127.0.0.1:{port}/")
        for name in ("index-url", "extra-index-url"):
            if remote := [url for url in _pip_setting(name) if not url.startswith("file:")]:
                lines.append(f"{name} = {' '.join(remote)}")
        file = folder / "pip.conf"
        file.write_text("\n".join(lines) + "\n")
        trusted = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
        file.with_name(CERTIFICATES).write_text(f"# {SECRET}\n{Path(trusted).read_text()}")
        yield file


def _pip_setting(name: str) -> list[str]:
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


@contextmanager
def _unmounting(path: Path) -> Iterator[None]:
    """Unmount a path afterwards, else the folder around it could not be deleted."""
    try:
        yield
    finally:
        if os.path.ismount(path):
            subprocess.run(["umount", path], check=True)


def _make_bases(host: DockerHost, root: Path) -> None:
    options = ("--variant=minbase", f"--include={PACKAGES}")
    command = ["debootstrap", *options, _codename(), root, _mirror()]
    with _unmounting(root / "proc"):  # still mounted if debootstrap is interrupted
        result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:]
    (root / "etc/apt/sources.list").write_text("")  # it names this machine's mirror
    for waste in WASTE:
        shutil.rmtree(root / waste)
        (root / waste).mkdir()
    _import(host, root, BUILDER)
    purge = ["chroot", root, "dpkg", "--purge", *BUILD_PACKAGES]
    subprocess.run(purge, check=True, stdout=subprocess.DEVNULL)
    _import(host, root, BASE)


def _import(host: DockerHost, root: Path, tag: str) -> None:
    archive = root.with_suffix(".tar")
    subprocess.run(["tar", "-C", root, "--numeric-owner", "-cf", archive, "."], check=True)
    name, _, label = tag.partition(":")
    host.client.api.import_image_from_file(str(archive), repository=name, tag=label)
    archive.unlink()


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line)
    return settings["VERSION_CODENAME"].strip('"')


def _mirror() -> str:
    """Return the URL from which apt here gets this Debian."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", f"Codename: {_codename()}"]
    sites = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return next(site for site in sites if "security" not in site)
