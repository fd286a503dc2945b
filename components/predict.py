from kfp import dsl

from components import image


@dsl.component(base_image=image.RANZCR, install_kfp_package=False)
def predict(
    checkpoint: dsl.Input[dsl.Model],
    checkpoint_digest: str,
    dataset: dsl.Input[dsl.Dataset],
    dataset_digest: str,
    code: str,
    predictions: dsl.Output[dsl.Dataset],
) -> str:
    """Predict a fold's validation rows, the test and the external images with its model.

    An ensemble in place of the checkpoint predicts a folder of images. Returns the digest of the
    predictions. See ranzcr.stages.predict.
    """
    from pathlib import Path

    from ranzcr.errors import one_line
    from ranzcr.stages import predict as stage

    with one_line("predict"):
        result = stage.run([Path(checkpoint.path)], Path(dataset.path), Path(predictions.path))
    predictions.metadata["digest"] = result.digest
    return result.digest
