"""images -> folds -> first stage -> soft labels -> second stage -> blend -> gate -> champion."""

from kfp import dsl

from components.blend import blend
from components.bundle import bundle
from components.evaluate import evaluate
from components.export import export
from components.ingest import ingest
from components.plan import plan
from components.predict import predict
from components.prepare import prepare
from components.promote import promote
from components.pseudo import pseudo
from components.register import register
from components.train import train


def train_and_predict(items, dataset, stage: str, **soft_labels):
    """Train each item of a plan and predict with it: (train task, predict task), to be Collected.

    Every scalar comes from the item: inside a loop, kfp.local replaces an outer task's output by
    the loop item.
    """
    with dsl.ParallelFor(items, name=stage) as item:
        trained = train(
            config=item.config,
            fold=item.fold,
            dataset=dataset,
            dataset_digest=item.dataset_digest,
            code=item.code,
            soft_digest=item.soft_digest,
            **soft_labels,
        )
        predicted = predict(
            checkpoint=trained.outputs["checkpoint"],
            checkpoint_digest=trained.outputs["Output"],
            dataset=dataset,
            dataset_digest=item.dataset_digest,
            code=item.code,
        )
    return trained, predicted


@dsl.pipeline(name="competition", description=__doc__)
def competition(
    source: str,
    first: list[str],
    second: list[str],
    code: str,
    externals: list[str] = [],  # noqa: B006, KFP reads the default at compile time
    image_size: int = 1024,
    folds: int = 5,
    seed: int = 0,
    skip_bad: bool = False,
    blend_method: str = "weights",
    min_auc: float = 0.5,
):
    """From a competition folder to a promoted ensemble and its offline submission bundle.

    Args:
        source: a folder, s3://bucket/prefix or kaggle:COMPETITION.
        first: experiments of the first stage, by name or as resolved JSON.
        second: experiments of the second stage, which learn from the first stage's soft labels.
        code: the code's version; with the digests it makes the cache key.
        externals: folders of unlabelled images.
        image_size: pixels per side of the image cache.
        folds: patient-grouped folds.
        seed: of the folds.
        skip_bad: go on without unreadable images.
        blend_method: weights, mean or subset.
        min_auc: the gate's bound on the lower end of the blend's interval.
    """
    # ingest, register and promote look at the world outside (files, the registry), so they always
    # run; each is idempotent. Everything else comes from the cache where nothing has changed.
    ingested = ingest(source=source, externals=externals).set_caching_options(False)
    prepared = prepare(
        competition=ingested.outputs["competition"],
        competition_digest=ingested.outputs["Output"],
        image_size=image_size,
        folds=folds,
        seed=seed,
        skip_bad=skip_bad,
        code=code,
    )
    data = {
        "dataset": prepared.outputs["dataset"],
        "dataset_digest": prepared.outputs["Output"],
    }

    first_plan = plan(experiments=first, code=code, **data)
    first_models, first_predictions = train_and_predict(
        first_plan.output, data["dataset"], "first-stage"
    )
    first_scored = evaluate(
        predictions=dsl.Collected(first_predictions.outputs["predictions"]),
        digests=dsl.Collected(first_predictions.outputs["Output"]),
        code=code,
        **data,
    )

    taught = pseudo(
        predictions=dsl.Collected(first_predictions.outputs["predictions"]),
        digests=dsl.Collected(first_predictions.outputs["Output"]),
        code=code,
        **data,
    )
    soft_labels = taught.outputs["soft_labels"]
    second_plan = plan(
        experiments=second,
        soft_labels=soft_labels,
        soft_digest=taught.outputs["Output"],
        code=code,
        **data,
    )
    second_models, second_predictions = train_and_predict(
        second_plan.output, data["dataset"], "second-stage", soft_labels=soft_labels
    )
    second_scored = evaluate(
        predictions=dsl.Collected(second_predictions.outputs["predictions"]),
        digests=dsl.Collected(second_predictions.outputs["Output"]),
        code=code,
        **data,
    )

    blended = blend(
        first_stage=first_scored.outputs["evaluation"],
        second_stage=second_scored.outputs["evaluation"],
        first_digest=first_scored.outputs["Output"],
        second_digest=second_scored.outputs["Output"],
        method=blend_method,
        code=code,
        **data,
    )
    exported = export(
        blended=blended.outputs["blended"],
        blend_digest=blended.outputs["Output"],
        first_stage=dsl.Collected(first_models.outputs["checkpoint"]),
        second_stage=dsl.Collected(second_models.outputs["checkpoint"]),
        first_digests=dsl.Collected(first_models.outputs["Output"]),
        second_digests=dsl.Collected(second_models.outputs["Output"]),
        code=code,
    )
    registered = register(
        ensemble=exported.outputs["ensemble"],
        blended=blended.outputs["blended"],
        dataset=data["dataset"],
        min_auc=min_auc,
    ).set_caching_options(False)

    # kfp.local resolves a condition on a task's return value alone, not on a named output.
    with dsl.If(registered.outputs["Output"] == "pass", name="gate-passed"):
        promoted = promote(candidate=registered.outputs["candidate"]).set_caching_options(False)
        bundle(
            ensemble=exported.outputs["ensemble"],
            ensemble_digest=exported.outputs["Output"],
            blended=blended.outputs["blended"],
            competition=ingested.outputs["competition"],
            champion_version=promoted.outputs["Output"],
            code=code,
        )
