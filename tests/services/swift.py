"""OpenStack Swift with its S3 API on loopback: a real object store from pip alone.

Swift needs old dependencies, so it gets its own virtual environment, created at first use.
"""

from __future__ import annotations

import getpass
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
from filelock import FileLock
from processes import free_ports, running, wait_until

KEY, SECRET = "ranzcr:admin", "swift-secret"
BUCKET = "ranzcr"
FILTERS = (
    "catch_errors gatekeeper healthcheck listing_formats s3api tempauth bulk slo dlo "
    "versioned_writes symlink"
)


def install(venv: Path) -> Path:
    """Install Swift into a virtual environment unless it is there; return its `bin` folder."""
    venv.mkdir(exist_ok=True)
    with FileLock(venv / "lock"):  # only one of several workers installs it
        if not (venv / "bin" / "swift-proxy-server").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            pip = [venv / "bin" / "pip", "install", "--quiet", "swift==2.38.3"]
            subprocess.run(pip, check=True)
    return venv / "bin"


@contextmanager
def serving(binaries: Path, folder: Path) -> Iterator[str]:
    """Run the four servers until the block ends; yield the endpoint's URL."""
    proxy, *backends = free_ports(4)
    _configure(folder, proxy, backends)
    _make_rings(binaries, folder, backends)
    with ExitStack() as stack:
        for name in ("account", "container", "object", "proxy"):
            command = [binaries / f"swift-{name}-server", folder / "etc" / f"{name}-server.conf"]
            stack.enter_context(running(command, folder / f"{name}.log"))
        wait_until(lambda: all(map(_answers, [proxy, *backends])), f"Swift; see {folder}")
        yield f"http://127.0.0.1:{proxy}"


def client(environment: Mapping[str, str]) -> Any:
    """Return an S3 client for the store that the environment names."""
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _configure(folder: Path, proxy: int, backends: list[int]) -> None:
    etc = folder / "etc"
    etc.mkdir(parents=True)
    (folder / "srv" / "d1").mkdir(parents=True)
    (etc / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_prefix = test\nswift_hash_path_suffix = test\n"
        "[storage-policy:0]\nname = default\ndefault = yes\n"
    )
    common = (
        f"swift_dir = {etc}\nuser = {getpass.getuser()}\nbind_ip = 127.0.0.1\nworkers = 0\n"
        "log_address = /dev/null\nlog_level = WARNING\nmount_check = false\n"
    )
    for name, port in zip(("account", "container", "object"), backends, strict=True):
        (etc / f"{name}-server.conf").write_text(
            f"[DEFAULT]\n{common}bind_port = {port}\ndevices = {folder / 'srv'}\n"
            "fallocate_reserve = 0\ndisable_fallocate = true\n"
            f"[pipeline:main]\npipeline = {name}-server\n"
            f"[app:{name}-server]\nuse = egg:swift#{name}\n"
        )
    filters = "".join(
        f"[filter:{name}]\nuse = egg:swift#{name}\n{_settings(name)}" for name in FILTERS.split()
    )
    (etc / "proxy-server.conf").write_text(
        f"[DEFAULT]\n{common}bind_port = {proxy}\n"
        f"[pipeline:main]\npipeline = {FILTERS} proxy-server\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\n"
        f"allow_account_management = true\naccount_autocreate = true\n{filters}"
    )


def _settings(name: str) -> str:
    return {
        "s3api": "location = us-east-1\ns3_acl = false\ncheck_bucket_owner = false\n",
        "tempauth": f"user_{KEY.replace(':', '_')} = {SECRET} .admin\n",
        "versioned_writes": "allow_object_versioning = true\n",
    }.get(name, "")


def _make_rings(binaries: Path, folder: Path, backends: list[int]) -> None:
    for name, port in zip(("account", "container", "object"), backends, strict=True):
        builder = folder / "etc" / f"{name}.builder"
        for arguments in (
            ["create", "6", "1", "1"],
            ["add", f"r1z1-127.0.0.1:{port}/d1", "1"],
            ["rebalance"],
        ):
            subprocess.run(
                [binaries / "swift-ring-builder", builder, *arguments],
                check=True,
                stdout=subprocess.DEVNULL,
            )
