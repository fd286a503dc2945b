"""The images, built from a local base: their contents, their rights and their purpose."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import docker_host
import pandas as pd
import pytest
from docker_host import DockerHost
from mlflow import MlflowClient
from mlflow_servers import account
from processes import free_ports, wait_until

NAMES = ("ranzcr", "ranzcr-mlflow", "ranzcr-serve")
USER = "10001:10001"
LOCK = Path(__file__).parent.parent.parent / "requirements.lock"


@pytest.fixture
def inside(host: DockerHost, images: dict[str, str]):
    """Return a function that runs a command as any user and returns its output."""

    def _inside(name: str, *command: str) -> str:
        with host.container(images[name], *command, user="12345:12345") as container:
            status = container.wait()["StatusCode"]
            output = container.logs().decode()
        assert status == 0, output
        return output

    return _inside


def test_torch_uses_only_the_cores_of_its_container(host, images):
    code = "from ranzcr.cores import limit_torch; limit_torch(); import torch; "
    command = ("python", "-c", code + "print(torch.get_num_threads())")
    with host.container(images["ranzcr"], *command, nano_cpus=10**9) as container:
        assert container.wait()["StatusCode"] == 0, container.logs().decode()
        assert container.logs().decode().split() == ["1"]


@pytest.fixture(scope="module")
def journal(host: DockerHost, images: dict[str, str]) -> Iterator[str]:
    """Run an MLflow server from its image, on SQLite and a folder; return its URL."""
    with tempfile.TemporaryDirectory(prefix="ranzcr-journal-", dir="/tmp") as folder:
        os.chown(folder, 10001, 10001)
        (port,) = free_ports(1)
        environment = {
            **{"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(port), "MLFLOW_WORKERS": "1"},
            "MLFLOW_BACKEND_STORE_URI": "sqlite:////srv/mlflow.db",
            "MLFLOW_ARTIFACTS_DESTINATION": "/srv/artifacts",
        }
        work = {folder: {"bind": "/srv", "mode": "rw"}}
        image = images["ranzcr-mlflow"]
        with host.container(image, environment=environment, volumes=work) as container:
            wait_until(lambda: is_healthy(container), "MLflow's image")
            yield f"http://127.0.0.1:{port}"


def is_healthy(container) -> bool:
    container.reload()
    assert container.status == "running", container.logs().decode()
    return container.attrs["State"]["Health"]["Status"] == "healthy"


def seconds_to_stop(container) -> float:
    """Stop a container in order; return the seconds it took. Docker kills it after 30 s."""
    start = time.monotonic()
    container.stop(timeout=30)
    seconds = time.monotonic() - start
    container.reload()
    assert container.attrs["State"]["ExitCode"] in (0, 143), container.logs().decode()
    return seconds


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_its_labels_and_a_fixed_user(host, images, name):
    image = host.client.images.get(images[name])
    labels = image.labels
    assert image.attrs["Config"]["User"] == USER
    assert labels["org.opencontainers.image.title"] == name
    commit = labels["org.opencontainers.image.revision"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit)
    version = labels["org.opencontainers.image.version"]
    assert images[name].startswith(f"{name}:{version}-{commit[:12]}")
    assert labels["org.opencontainers.image.base.name"] == docker_host.BASE
    print(f"{name}: {image.attrs['Size'] / 1e6:.0f} MB")


def test_the_images_of_the_servers_are_small(host, images):
    sizes = {name: host.client.images.get(images[name]).attrs["Size"] for name in NAMES}
    assert max(sizes["ranzcr-mlflow"], sizes["ranzcr-serve"]) < sizes["ranzcr"] / 2


@pytest.mark.parametrize("name", NAMES)
def test_an_image_lists_its_packages_which_have_the_locked_versions(inside, name):
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK.read_text(), re.MULTILINE))
    listed = inside(name, "cat", "/opt/venv/packages.txt").split()
    packages = dict(line.lower().replace("_", "-").split("==") for line in listed)
    assert len(packages) > 20
    # The lock names torch, the image has its CPU build, torch+cpu.
    assert {package: version.split("+")[0] for package, version in packages.items()} == {
        package: locked[package] for package in packages
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_no_build_tools(inside, name):
    tools = inside(
        name, "sh", "-c", "for tool in pip pip3 gcc cc make git; do command -v $tool; done; true"
    )
    assert tools == ""
    assert inside(name, "sh", "-c", "python3 -m pip 2>&1 || true").endswith("No module named pip\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_an_image_use_its_own_python(inside, name):
    shebangs = inside(name, "sh", "-c", "grep -shI '^#!' /opt/*/bin/* || true").splitlines()
    assert len(shebangs) > 5
    assert set(shebangs) == {"#!/opt/venv/bin/python"}


@pytest.mark.parametrize("name", NAMES)
def test_no_layer_holds_a_cache_or_a_secret(host, images, name):
    folders = layers(host, images[name])
    paths = [path.relative_to(layer).as_posix() for layer in folders for path in layer.rglob("*")]
    assert len(paths) > 1000
    caches = re.compile(r"root/\.cache/|var/cache/apt/.*deb|etc/pip\.conf|run/secrets")
    assert not [path for path in paths if caches.match(path)]
    assert not docker_host.holds_secret(*folders)
    history = host.client.images.get(images[name]).history()
    assert docker_host.SECRET not in json.dumps(history)


def layers(host: DockerHost, tag: str) -> list[Path]:
    """Return the folders of an image's layers."""
    driver = host.client.images.get(tag).attrs["GraphDriver"]
    assert driver["Name"] == "overlay2"
    folders = [driver["Data"]["UpperDir"], *driver["Data"]["LowerDir"].split(":")]
    return [Path(folder) for folder in folders]


def test_any_user_can_import_the_training_on_a_read_only_system(inside):
    output = inside(
        "ranzcr",
        *("python", "-c"),
        "import ranzcr.training.fit, ranzcr.inference.export, pipelines.competition\n"
        "import torchvision.transforms; print('all there')",
    )
    assert output.endswith("all there\n")
    assert "  pipeline  Run a pipeline here" in inside("ranzcr", "ranzcr", "--help")


@pytest.fixture(scope="module")
def pipeline_run(
    host: DockerHost,
    images: dict[str, str],
    journal: str,
    competition: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Run the whole pipeline in containers, twice; return its home folder."""
    folder = tmp_path_factory.mktemp("in-containers")
    environment = {
        **os.environ,
        **host.environment,
        **{"MLFLOW_TRACKING_URI": journal, "RANZCR_HOME": str(folder / "home")},
    }
    command = [
        *("pipeline", "run", "competition", "--data", str(competition), "--folds", "2"),
        *("--first", "smoke_a", "--second", "smoke_student", "--min-auc", "0"),
        *("--set", "data.image_size=64", "--set", "training.recipe.train.epochs=1"),
        *("--set", "training.recipe.train.warmup_epochs=0"),
        *("--runner", "docker", "--image", images["ranzcr"]),
    ]
    for _ in range(2):
        result = subprocess.run(
            [Path(sys.executable).parent / "ranzcr", *command],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
    assert "train smoke_student fold 1: cached" in result.stderr
    assert not host.client.containers.list(all=True, filters={"ancestor": images["ranzcr"]})
    return folder / "home"


@pytest.fixture(scope="module")
def submission(pipeline_run: Path) -> pd.DataFrame:
    first = min(pipeline_run.glob("pipelines/*/runs/**/submission.csv"))
    return pd.read_csv(first).set_index("StudyInstanceUID")


def test_the_champion_of_the_pipeline_is_served(host, images, journal, competition, submission):
    (port,) = free_ports(1)
    environment = {"MLFLOW_TRACKING_URI": journal, "PORT": str(port)}
    paths = sorted((competition / "test").glob("*.jpg"))[:3]
    with host.container(images["ranzcr-serve"], environment=environment) as container:
        wait_until(lambda: is_healthy(container), "the served model")
        answer = predict(port, [path.read_bytes() for path in paths])
        assert seconds_to_stop(container) < 15
    served = pd.DataFrame(answer["predictions"])[submission.columns]
    expected = submission.loc[[path.stem for path in paths]]
    assert abs(served.to_numpy() - expected.to_numpy()).max() < 1e-4


def predict(port: int, images: list[bytes]) -> dict:
    records = [{"image": base64.b64encode(image).decode()} for image in images]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"dataframe_records": records}).encode(),
        {"Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request, timeout=30))


def test_the_journal_names_the_image_and_its_commit(host, images, journal, pipeline_run):
    client = MlflowClient(journal)
    experiment = client.get_experiment_by_name("ranzcr-clip")
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'fold'")
    image = host.client.images.get(images["ranzcr"])
    commit = image.labels["org.opencontainers.image.revision"]
    assert {run.data.tags["image_digest"] for run in runs} == {image.id}
    assert {run.data.tags["git_commit"] for run in runs} == {commit}


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [("MODEL_URI", "models:/nothing@champion", ": "), ("PORT", "http", ": not a number")],
)
def test_a_server_that_cannot_start_says_why_in_one_line(
    host, images, journal, variable, value, problem
):
    environment = {"MLFLOW_TRACKING_URI": journal, variable: value}
    with host.container(images["ranzcr-serve"], environment=environment) as container:
        assert container.wait()["StatusCode"] == 1
        (line,) = container.logs().decode().strip().splitlines()
    assert line.startswith(f"{variable} {value}{problem}")


def test_mlflow_runs_on_postgresql_and_asks_for_credentials(host, images, postgresql, tmp_path):
    admin = account("admin")
    settings = tmp_path / "auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\nadmin_username = admin\n"
        f"database_uri = {postgresql.database('image_auth')}\n"
    )
    (port,) = free_ports(1)
    environment = {
        **{"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(port), "MLFLOW_WORKERS": "1"},
        "MLFLOW_BACKEND_STORE_URI": postgresql.database("image"),
        "MLFLOW_AUTH_CONFIG_PATH": "/etc/mlflow/auth.ini",
        "MLFLOW_AUTH_ADMIN_PASSWORD": admin.password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_urlsafe(32),
    }
    volumes = {str(settings): {"bind": "/etc/mlflow/auth.ini", "mode": "ro"}}
    command = ("mlflow", "server", "--app-name", "basic-auth")
    image = images["ranzcr-mlflow"]
    with host.container(image, *command, environment=environment, volumes=volumes) as container:
        wait_until(lambda: is_healthy(container), "MLflow's image on PostgreSQL")
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(url, timeout=30)
        credentials = base64.b64encode(f"{admin.name}:{admin.password}".encode()).decode()
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {credentials}"})
        answer = json.load(urllib.request.urlopen(request, timeout=30))
        assert answer["experiments"][0]["name"] == "Default"
        assert seconds_to_stop(container) < 25
