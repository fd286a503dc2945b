"""new data and the champion -> data checks, drift since its training, its present score."""

from kfp import dsl

from components.monitor import monitor
from pipelines.parts import data_of, fetched


@dsl.pipeline(name="nightly", description=__doc__)
def nightly(
    source: str,
    code: str,
    folds: int = 5,
    seed: int = 0,
    skip_bad: bool = False,
    version: str = "champion",
) -> None:
    """Check the data, look for drift of labels and grey values, score the model on these labels.

    Args:
        source: a folder, s3://bucket/prefix or kaggle:COMPETITION.
        code: the code's version; with the digests it makes the cache key.
        folds: patient-grouped folds.
        seed: of the folds.
        skip_bad: continue without unreadable images.
        version: of the candidates; or champion, or challenger.
    """
    model = fetched(version)
    _, data = data_of(
        source,
        [],
        code,
        image_size=model.outputs["image_size"],
        folds=folds,
        seed=seed,
        skip_bad=skip_bad,
    )
    monitor(
        ensemble=model.outputs["ensemble"],
        ensemble_digest=model.outputs["digest"],
        blended=model.outputs["blended"],
        candidate=model.outputs["candidate"],
        code=code,
        **data,
    )
