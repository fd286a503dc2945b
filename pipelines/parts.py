"""What several pipelines have in common; each part is called where a pipeline is drawn."""

from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components.evaluate import evaluate
from components.fetch import fetch
from components.ingest import ingest
from components.plan import plan
from components.predict import predict
from components.prepare import prepare
from components.train import train

# ingest, fetch, register and promote look at the world outside (files, the registry), so they
# always run; each is idempotent. All else comes from the cache where nothing has changed.


def data_of(source, externals, code, **options) -> tuple[Any, dict[str, Any]]:
    """The ingested competition folder, and the data set with its digest, as stages take it."""
    ingested = ingest(source=source, externals=externals, images=False).set_caching_options(False)
    prepared = prepare(
        competition=ingested.outputs["competition"],
        competition_digest=ingested.outputs["Output"],
        code=code,
        **options,
    )
    data = {"dataset": prepared.outputs["dataset"], "dataset_digest": prepared.outputs["Output"]}
    return ingested.outputs["competition"], data


@dataclass(frozen=True)
class Trained:
    """The two tasks of the loop; their outputs are collected anew for each use."""

    trained: Any
    predicted: Any

    def checkpoints(self) -> Any:
        return dsl.Collected(self.trained.outputs["checkpoint"])

    def checkpoint_digests(self) -> Any:
        return dsl.Collected(self.trained.outputs["Output"])

    def predictions(self) -> dict[str, Any]:
        """As evaluate and pseudo take them."""
        return {
            "predictions": dsl.Collected(self.predicted.outputs["predictions"]),
            "digests": dsl.Collected(self.predicted.outputs["Output"]),
        }


def trained_on(
    data, experiments, stage: str, code, devices, soft_labels=None, soft_digest=None
) -> tuple[Trained, Any]:
    """Train experiments on all folds, predict with each model; the loop and the task of evaluate.

    Within the loop every scalar comes from its item or from a pipeline's parameter: kfp.local
    replaces the output of an outer task by the item.
    """
    soft = {"soft_labels": soft_labels} if soft_labels else {}
    digest = {"soft_digest": soft_digest} if soft_labels else {}
    planned = plan(experiments=experiments, code=code, **soft, **digest, **data)
    with dsl.ParallelFor(planned.output, name=stage) as item:
        trained = train(
            config=item.config,
            fold=item.fold,
            dataset=data["dataset"],
            dataset_digest=item.dataset_digest,
            code=item.code,
            soft_digest=item.soft_digest,
            devices=devices,
            **soft,
        )
        predicted = predict(
            checkpoint=trained.outputs["checkpoint"],
            checkpoint_digest=trained.outputs["Output"],
            dataset=data["dataset"],
            dataset_digest=item.dataset_digest,
            code=item.code,
        )
    loop = Trained(trained, predicted)
    return loop, evaluate(code=code, **loop.predictions(), **data)


def fetched(version):
    """The task that brings a registered version: ensemble, blended, candidate and their digest."""
    return fetch(version=version).set_caching_options(False)


def imported(uri, digest):
    """What lies at `uri`, as an artifact."""
    return dsl.importer(
        artifact_uri=uri, artifact_class=dsl.Dataset, metadata={"digest": digest}
    ).output
