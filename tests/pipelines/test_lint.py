"""lint: every rule has a pipeline that breaks it, and our own pipelines break none."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import broken
import golden
import pytest
import yaml
from kfp import compiler
from kfp.dsl.graph_component import GraphComponent

from pipelines import hardware, launch, lint, placement
from ranzcr.errors import ConfigError

PIPELINES = {
    name: graph for name, graph in vars(broken).items() if isinstance(graph, GraphComponent)
}
PROFILE, PROVIDER = hardware.profile("cpu"), hardware.provider("generic")


def rule_of(name: str) -> str:
    """Return the rule that a pipeline of `broken` is named after."""
    rules = [rule.__name__ for rule in lint.RULES if name.startswith(rule.__name__)]
    return max(rules, key=len).replace("_", "-")


@pytest.fixture
def lint_graph(tmp_path) -> Callable[..., list[lint.LintFinding]]:
    """Place a pipeline of `broken` on hardware, and lint it."""

    def _lint(graph) -> list[lint.LintFinding]:
        path = tmp_path / "pipeline.yaml"
        placed = placement.placed(graph, PROFILE, PROVIDER, golden.IMAGE, "0")
        compiler.Compiler().compile(placed, str(path))
        return lint.lint(path)

    return _lint


@pytest.mark.parametrize("name", sorted(set(PIPELINES) - {"sound"}))
def test_a_broken_pipeline_breaks_its_rule_and_no_other(name, lint_graph):
    findings = lint_graph(PIPELINES[name])
    assert {finding.rule for finding in findings} == {rule_of(name)}, findings


def test_a_sound_pipeline_has_no_findings(lint_graph):
    assert lint_graph(broken.sound) == []


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("compiled") / "first-stage.yaml"
    launch.compile_to("first-stage", path, golden.IMAGE, "gpu-small")
    return path.read_text()


EDITS = {
    "unpinned-image": lambda spec, *_: spec["container"].update(image="ranzcr:1.0"),
    "no-resources": lambda spec, *_: spec["container"]["resources"].pop("resourceMemoryLimit"),
    "gpu-without-shm": lambda _, platform, __: platform.pop("emptyDirMounts"),
    "gpu-without-toleration": lambda _, platform, __: platform.pop("tolerations"),
    "gpu-without-timeout": lambda _, platform, __: platform.pop("activeDeadlineSeconds"),
    "gpu-without-queue": lambda _, platform, __: platform.pop("podMetadata"),
    "secret-in-clear": lambda spec, *_: spec["container"]["env"].append(
        {"name": "MLFLOW_TRACKING_PASSWORD", "value": "hunter2"}
    ),
    "retries-end-early": lambda *edited: edited[2]["retryPolicy"].update(
        backoffMaxDuration="3600s"
    ),
}


@pytest.mark.parametrize("rule", EDITS)
def test_a_missing_setting_of_a_pod_is_reported_with_its_place(rule, compiled, tmp_path):
    spec, platform = yaml.load_all(compiled, yaml.CSafeLoader)
    EDITS[rule](
        spec["deploymentSpec"]["executors"]["exec-train"],
        platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"],
        spec["components"]["comp-for-loop-1"]["dag"]["tasks"]["train"],
    )
    path = tmp_path / "edited.yaml"
    path.write_text(yaml.dump_all([spec, platform], Dumper=yaml.CSafeDumper))
    (finding,) = lint.lint(path)
    assert (finding.where, finding.rule) == ("for-loop-1/train", rule)


def test_every_rule_has_a_test_that_breaks_it():
    broken_rules = {rule_of(name) for name in set(PIPELINES) - {"sound"}} | set(EDITS)
    assert broken_rules == {rule.__name__.replace("_", "-") for rule in lint.RULES}


def test_every_rule_has_a_docstring():
    assert all(inspect.getdoc(rule) for rule in lint.RULES)


@pytest.mark.parametrize("provider", hardware.providers())
def test_our_pipelines_have_no_findings_with_any_provider(provider, tmp_path):
    """The golden tests cover the generic provider, because compile_to refuses findings."""
    path = tmp_path / "spot.yaml"
    launch.compile_to("second-stage", path, golden.IMAGE, "spot", provider)
    assert lint.lint(path) == []


def test_all_findings_are_printed_at_once_with_exit_code_2(ranzcr, compiled, tmp_path):
    path = tmp_path / "edited.yaml"
    path.write_text(compiled.replace(golden.IMAGE, "ranzcr:latest"))
    code, out, _ = ranzcr("pipeline", "lint", path)
    assert code == 2
    lines = out.splitlines()
    assert len(lines) == 7  # one for each stage
    assert lines[0] == (
        "evaluate: unpinned-image: image ranzcr:latest; name it by digest, NAME@sha256:..."
    )


def test_a_clean_file_is_reported_as_clean(ranzcr, compiled, tmp_path):
    (tmp_path / "clean.yaml").write_text(compiled)
    code, out, _ = ranzcr("pipeline", "lint", tmp_path / "clean.yaml")
    assert (code, "nothing found by" in out) == (0, True)


@pytest.mark.parametrize("content", ["a: [", "[]", "root: {}", "", "root: {dag: {tasks: {}}}"])
def test_a_file_that_is_not_a_compiled_pipeline_is_one_line(content, tmp_path):
    (tmp_path / "other.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"other\.yaml: not a compiled pipeline"):
        lint.lint(tmp_path / "other.yaml")


def test_a_missing_file_is_one_line():
    with pytest.raises(ConfigError, match=r"no\.yaml: no such file"):
        lint.lint(Path("no.yaml"))
