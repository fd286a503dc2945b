"""an existing data set and soft labels -> second-stage experiments in the journal."""

from kfp import dsl

from pipelines.parts import imported, trained_on


@dsl.pipeline(name="second-stage", description=__doc__)
def second_stage(
    dataset: str,
    dataset_digest: str,
    soft_labels: str,
    soft_digest: str,
    second: list[str],
    code: str,
    devices: int = 1,
) -> None:
    """Train and score experiments that learn from soft labels.

    Args:
        dataset: where first-stage, or ranzcr prepare, left the data set: a URI of KFP's artifact
            store; here, a folder.
        dataset_digest: of its content, as dataset.json says it.
        soft_labels: where first-stage, or ranzcr pseudo, left the soft labels.
        soft_digest: of their content, as soft_labels.json says it.
        second: experiments, by name or as resolved JSON.
        code: the code's version; with the digests it makes the cache key.
        devices: GPUs of each training.
    """
    data = {"dataset": imported(dataset, dataset_digest), "dataset_digest": dataset_digest}
    trained_on(
        data,
        second,
        "second-stage",
        code,
        devices,
        soft_labels=imported(soft_labels, soft_digest),
        soft_digest=soft_digest,
    )
