"""Parts that several pipelines share; each is called where a pipeline is defined."""

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

# ingest, fetch, register and promote read files or the registry, so they always run; each is
# idempotent. The other stages come from the cache if nothing has changed.


def data_of(source: Any, externals: Any, code: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return the ingested competition folder, and the inputs `dataset` and `dataset_digest`."""
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
class Loop:
    """The two tasks of a loop; each use needs its own Collected."""

    trained: Any
    predicted: Any

    def checkpoints(self) -> Any:
        return dsl.Collected(self.trained.outputs["checkpoint"])

    def checkpoint_digests(self) -> Any:
        return dsl.Collected(self.trained.outputs["Output"])

    def predictions(self) -> dict[str, Any]:
        """Return the inputs `predictions` and `digests`."""
        return {
            "predictions": dsl.Collected(self.predicted.outputs["predictions"]),
            "digests": dsl.Collected(self.predicted.outputs["Output"]),
        }


def trained_on(
    data: dict[str, Any],
    experiments: Any,
    stage: str,
    code: Any,
    devices: Any,
    soft_labels: Any = None,
    soft_digest: Any = None,
) -> tuple[Loop, Any]:
    """Train experiments on all folds and predict with each model; returns also evaluate's task.

    Within the loop every scalar comes from its item or from a pipeline's parameter, because
    kfp.local replaces the output of an outer task by the item.
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
    loop = Loop(trained, predicted)
    return loop, evaluate(code=code, **loop.predictions(), **data)


def fetched(version: Any) -> Any:
    """Return the task that downloads a registered version."""
    return fetch(version=version).set_caching_options(False)


def imported(uri: Any, digest: Any) -> Any:
    """Return the data at a URI as an artifact."""
    return dsl.importer(
        artifact_uri=uri, artifact_class=dsl.Dataset, metadata={"digest": digest}
    ).output
