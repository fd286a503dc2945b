"""A pipeline of one task with a parameter of each type, placed on CPU nodes.

KFP reads the annotations themselves.
"""

from pathlib import Path

from kfp import compiler, dsl

from pipelines import hardware, placement

IMAGE = f"ranzcr@sha256:{'0' * 64}"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(source: str, folds: int, rate: float, skip: bool, names: list, more: dict):
    print(source, folds, rate, skip, names, more)


@dsl.pipeline(name="tiny")
def tiny(
    source: str,
    folds: int = 5,
    rate: float = 0.1,
    skip: bool = False,
    names: list = [],  # noqa: B006, KFP reads the default at compile time
    more: dict = {},  # noqa: B006
):
    train(source=source, folds=folds, rate=rate, skip=skip, names=names, more=more)


def compile_to(path: Path) -> Path:
    profile, provider = hardware.profile("cpu"), hardware.provider("generic")
    compiler.Compiler().compile(placement.placed(tiny, profile, provider, IMAGE, "0"), str(path))
    return path
