"""Modules that no cache key covers cannot change a result: replacing each gives the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from unittest.mock import MagicMock

import pandas as pd
import pytest

from pipelines import code, launch
from pipelines.lint import tree
from ranzcr import config, errors, home, progress
from ranzcr.stages import blend, evaluate, export, predict, prepare, pseudo, train

pytestmark = pytest.mark.slow

SMALL = (
    *("data.image_size=48", "training.recipe.train.epochs=1"),
    "training.recipe.train.warmup_epochs=0",
)


def cached_stages() -> set[str]:
    return {
        tasks.stage
        for name in launch.PIPELINES
        for tasks in launch._planned(tree.of_graph(launch.pipeline(name)), ["experiment"], 1)
        if tasks.cached
    }


@pytest.fixture(scope="module")
def sources() -> list[Path]:
    """The sources that are part of the cache key of any stage."""
    names = {name for stage in cached_stages() for name in code.of_stage(stage)}
    return [code.ROOT / name for name in sorted(names) if name.endswith(".py")]


def test_a_cached_stage_imports_each_of_these_modules(sources):
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    for name in code.WITHOUT_EFFECT:
        module = name.removesuffix(".py").rstrip("/").replace("/", ".")
        assert f"from {module} import" in text or f"from {module}." in text, name


@pytest.fixture(scope="module")
def results(competition, tmp_path_factory) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The results of a chain of stages, unchanged and with these modules replaced."""
    usual, replaced = (tmp_path_factory.mktemp(name) for name in ("usual", "replaced"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANZCR_HOME", str(usual / "home"))
        before = chain(competition, usual)
    with pytest.MonkeyPatch.context() as patch, replacements(patch, replaced):
        after = chain(competition, replaced)
    return before, after


def chain(competition: Path, out: Path) -> dict[str, bytes]:
    """Run a chain of stages; return the digest, the weights or the values of each result.

    For predict it is the values, because its files contain the id of their run.
    """
    dataset = prepare.run(competition, out / "dataset", size=48, folds=2)
    digests = {"prepare": dataset.digest}
    weights: dict[str, bytes] = {}
    checkpoints, predictions = [], []
    for fold in range(2):
        checkpoint = out / f"train-{fold}"
        trained = train.run(
            config.load("smoke_a", SMALL),
            dataset.path,
            checkpoint,
            fold=fold,
            resume=home.home() / "resume",
        )
        weights[f"weights {fold}"] = (checkpoint / "model.safetensors").read_bytes()
        predicted = predict.run([checkpoint], dataset.path, out / f"predict-{fold}")
        digests[f"train {fold}"] = trained.digest
        for name in predicted.files:
            digests[f"{name} {fold}"] = pd.read_parquet(predicted.path / name).to_csv()
        checkpoints.append(checkpoint)
        predictions.append(predicted.path)
    evaluated = evaluate.run(predictions, dataset.path, out / "evaluate")
    soft_labels = pseudo.run(predictions, dataset.path, out / "pseudo")
    blended = blend.run([evaluated.path], dataset.path, out / "blend")
    exported = export.run(blended.path, checkpoints, out / "export")
    digests |= {
        "evaluate": evaluated.digest,
        "pseudo": soft_labels.digest,
        "blend": blended.digest,
        "export": exported.digest,
    }
    return {**weights, **{name: digest.encode() for name, digest in digests.items()}}


@contextmanager
def replacements(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Log nothing, show nothing, use another home, and fail if an error is created."""
    from ranzcr.tracking import context

    @contextmanager
    def no_run(*arguments: object, **options: object) -> Iterator[MagicMock]:
        yield MagicMock(run_id="0" * 32)

    def refuse(*arguments: object) -> None:
        raise AssertionError("a stage that succeeds uses ranzcr.errors")

    for name in ("fold_run", "single_run_of", "pseudo_run", "ensemble_run"):
        patch.setattr(context, name, no_run)
    patch.setattr(errors.RanzcrError, "__init__", refuse)
    replaced = {
        progress.track: lambda items, *_, **__: items,
        home.home: lambda: folder / "other",
        errors.nearest: refuse,
        errors.from_os_error: refuse,
    }
    modules = [module for name, module in sys.modules.items() if name.startswith("ranzcr.")]
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, FunctionType) and value in replaced:
                patch.setattr(module, name, replaced[value])
    yield


def test_tracking_progress_home_and_errors_change_no_result(results):
    usual, replaced = results
    assert replaced == usual
    assert len(usual) == 13


def test_progress_yields_the_items_on_a_terminal_too(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress.track("abc", "letters")) == ["a", "b", "c"]


def test_one_line_lets_a_stage_that_succeeds_pass():
    with errors.one_line("stage"):
        result = "digest"
    assert result == "digest"
