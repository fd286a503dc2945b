"""The settings in profiles and providers, and the mistakes that are refused."""

from __future__ import annotations

from pathlib import Path

import golden
import pytest
import yaml

from pipelines import conventions, hardware, launch
from ranzcr import stages
from ranzcr.errors import ConfigError


@pytest.fixture
def profile(tmp_path):
    """Read a profile that extends cpu from YAML."""

    def _profile(text: str) -> hardware.Profile:
        (tmp_path / "mine.yaml").write_text(f"extends: cpu\nabout: mine\n{text}")
        return hardware.profile(str(tmp_path / "mine.yaml"))

    return _profile


@pytest.mark.parametrize("name", hardware.profiles())
def test_each_shipped_profile_has_hardware_for_every_stage(name):
    chosen = hardware.profile(name)
    for stage in hardware.STAGES:
        assert chosen.of(stage).timeout_minutes > 0
    gpus = [chosen.of(stage) for stage in hardware.STAGES if chosen.of(stage).gpu]
    assert all(gpu.shm and gpu.queue == "gpu" and gpu.pool for gpu in gpus)


def test_a_stage_that_is_not_listed_gets_the_default_hardware():
    chosen = hardware.profile("cpu")
    assert "plan" not in chosen.stages
    assert chosen.of("plan") == chosen.hardware["light"]


def test_the_stages_are_those_of_the_repository():
    files = {path.stem for path in Path(stages.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(hardware.STAGES)


def test_a_profile_states_only_its_difference(profile):
    mine = profile("hardware: {training: {shm: 3Gi}}")
    base = hardware.profile("cpu")
    assert mine.of("train").shm == "3Gi"
    assert mine.of("train").cpu == base.of("train").cpu
    assert mine.of("plan") == base.of("plan")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hardware: {training: {shmm: 1Gi}}", r"'hardware\.training\.shmm'; did you mean shm\?"),
        ("hardware: {training: {gpu: {typ: l4}}}", r"training\.gpu\.typ'; did you mean type\?"),
        ("stages: {trian: light}", r"stages\.trian: 'trian' is not known; did you mean train\?"),
        ("stages: {train: lite}", r"stages\.train: no hardware 'lite'; did you mean light\?"),
        ("default: lite", r"default: no hardware 'lite'; did you mean light\?"),
        ("hardware: {light: {memory: {limit: 4GB}}}", r"limit: expected a quantity .* 4Gi; found"),
        ("hardware: {light: {queue: gpus}}", r"queue: 'gpus' is not known; did you mean gpu\?"),
        (
            "hardware: {light: {pool: large}}",
            r"pool: 'large' is not known; known: gpu-8x, gpu-small, gpu-spot",
        ),
        ("secrets: {ranzcr-mlfow: [train]}", r"is not known; did you mean ranzcr-mlflow\?"),
        ("secrets: {ranzcr-s3: [ingst]}", r"'ingst' is not known; did you mean ingest\?"),
        ("volumes: x", r"no setting 'volumes'; did you mean volume\?"),
        ("hardware: {training: {spot: true}}", "spot nodes needs a volume"),
        ("hardware: {light: {retries: -1}}", r"retries: .* greater than or equal to 0; found -1"),
        ("hardware: [", "not YAML"),
    ],
)
def test_a_mistake_in_a_profile_is_reported_with_the_right_name(profile, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        profile(text)
    assert "\n" not in str(error.value)


def test_unknown_names_are_reported_with_the_valid_names():
    with pytest.raises(ConfigError, match=r"no profile 'gpu8x'; did you mean gpu-8x\?"):
        hardware.profile("gpu8x")
    with pytest.raises(ConfigError, match="no provider 'openshift'; known: aks, eks, generic"):
        hardware.provider("openshift")
    with pytest.raises(ConfigError, match=r"no\.yaml: no such file; profiles by name: cpu"):
        hardware.profile("no.yaml")


def test_a_profile_that_extends_itself_is_one_line(tmp_path):
    (tmp_path / "mine.yaml").write_text(f"extends: {tmp_path}/mine.yaml\n")
    with pytest.raises(ConfigError, match="extends itself"):
        hardware.profile(str(tmp_path / "mine.yaml"))


def test_a_gpu_that_a_provider_lacks_is_reported_with_its_gpus(profile):
    mine = profile("hardware: {training: {gpu: {type: tpu, count: 1}}}")
    with pytest.raises(ConfigError, match="gke has no GPU type 'tpu'; known: a100, h100, l4, t4"):
        hardware.provider("gke").labels(mine.of("train"))


@pytest.fixture
def train_pod(tmp_path):
    """Compile first-stage, and return the Kubernetes settings of its train task."""

    def _train_pod(profile: str, provider: str | None = None) -> dict:
        path = tmp_path / "compiled.yaml"
        launch.compile_to("first-stage", path, golden.IMAGE, profile, provider)
        _, platform = yaml.load_all(path.read_text(), yaml.CSafeLoader)
        return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]

    return _train_pod


@pytest.mark.parametrize(
    ("provider", "label", "taints"),
    [
        ("generic", {}, {"nvidia.com/gpu"}),
        ("gke", {"cloud.google.com/gke-spot": "true"}, {"cloud.google.com/gke-spot"}),
        ("eks", {"karpenter.k8s.aws/instance-gpu-name": "l4"}, {"nvidia.com/gpu"}),
        ("aks", {"kubernetes.azure.com/scalesetpriority": "spot"}, {"sku"}),
        ("onprem", {"nvidia.com/gpu.product": "NVIDIA-L4"}, {"nvidia.com/gpu"}),
    ],
)
def test_a_provider_changes_only_labels_and_taints(train_pod, provider, label, taints):
    specific, generic = train_pod("spot", provider), train_pod("spot")
    assert {conventions.POOL_LABEL: "gpu-spot", **label}.items() <= specific["nodeSelector"][
        "labels"
    ].items()
    assert taints <= {toleration["key"] for toleration in specific["tolerations"]}
    for part in ("nodeSelector", "tolerations"):
        specific.pop(part), generic.pop(part)
    assert specific == generic


def test_only_the_stages_that_need_a_secret_refer_to_it(train_pod):
    (secret,) = train_pod("gpu-small")["secretAsEnv"]
    assert secret["secretName"] == "ranzcr-mlflow"
    keys = [variable["secretKey"] for variable in secret["keyToEnv"]]
    assert keys == list(conventions.SECRETS["ranzcr-mlflow"])


def test_without_a_volume_no_claim_is_mounted(train_pod):
    assert "pvcMount" not in train_pod("cpu")
    (mount,) = train_pod("gpu-small")["pvcMount"]
    assert (mount["constant"], mount["mountPath"]) == (conventions.VOLUME_CLAIM, "/srv")
