"""a registered model and a folder of images -> a submission."""

from typing import NamedTuple

from kfp import dsl

from components.ingest import ingest
from components.predict import predict as predict_stage
from pipelines.parts import fetched


class PredictOutputs(NamedTuple):
    """A folder with submission.csv."""

    predictions: dsl.Dataset


@dsl.pipeline(name="predict", description=__doc__)
def predict(images: str, code: str, version: str = "champion") -> PredictOutputs:
    """Predict each image of a folder.

    Args:
        images: a folder or s3://bucket/prefix of .jpg and .png files.
        code: the code's version; with the digests it makes the cache key.
        version: of the candidates; or champion, or challenger.
    """
    model = fetched(version)
    ingested = ingest(source=images, externals=[], images=True).set_caching_options(False)
    predicted = predict_stage(
        checkpoint=model.outputs["ensemble"],
        checkpoint_digest=model.outputs["digest"],
        dataset=ingested.outputs["competition"],
        dataset_digest=ingested.outputs["Output"],
        code=code,
    )
    return PredictOutputs(predicted.outputs["predictions"])
