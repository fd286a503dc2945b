"""a registered candidate -> judged again next to the present champion -> champion."""

from kfp import dsl

from components.promote import promote as promote_stage
from components.register import register
from pipelines.parts import data_of, fetched


@dsl.pipeline(name="promote", description=__doc__)
def promote(
    source: str,
    version: str,
    why: str,
    code: str,
    externals: list[str] = [],  # noqa: B006, KFP reads the default at compile time
    folds: int = 5,
    seed: int = 0,
    skip_bad: bool = False,
    gates: str = "",
) -> None:
    """Judge a candidate on the data that it learned from, and promote it if it passes.

    Args:
        source: a folder, s3://bucket/prefix or kaggle:COMPETITION.
        version: of the candidates; or challenger.
        why: the reason, for the ledger.
        code: the code's version; with the digests it makes the cache key.
        externals: folders of unlabelled images, as when it was trained.
        folds: as when it was trained.
        seed: as when it was trained.
        skip_bad: as when it was trained.
        gates: settings of the gates, as JSON; if empty, the packaged ones.
    """
    model = fetched(version)
    _, data = data_of(
        source,
        externals,
        code,
        image_size=model.outputs["image_size"],
        folds=folds,
        seed=seed,
        skip_bad=skip_bad,
    )
    judged = register(
        ensemble=model.outputs["ensemble"],
        blended=model.outputs["blended"],
        dataset=data["dataset"],
        gates=gates,
    ).set_caching_options(False)
    # No condition: the stage refuses a candidate that failed, and the run fails with the reason.
    promote_stage(candidate=judged.outputs["candidate"], why=why).set_caching_options(False)
