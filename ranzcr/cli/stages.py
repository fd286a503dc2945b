"""`ranzcr STAGE ...`: one command per stage, and `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranzcr.cli.options import (
    Folds,
    Gates,
    LabelTable,
    MinAuc,
    Output,
    Override,
    Seed,
    Size,
    SkipBad,
    Tta,
    VersionOrAlias,
)
from ranzcr.errors import ConfigError

group = typer.Typer()  # its commands are at the top level

Prepared = Annotated[Path, typer.Option("--data", help="A prepared data set.")]
Predicted = Annotated[list[Path], typer.Argument(help="What `ranzcr predict` wrote.")]
Exported = Annotated[Path, typer.Argument(help="What `ranzcr export` wrote.")]
Soft = Annotated[Path | None, typer.Option("--soft-labels", help="What `ranzcr pseudo` wrote.")]


@group.command()
def ingest(
    source: Annotated[str, typer.Argument(help="A folder, s3://bucket/prefix or kaggle:NAME.")],
    out: Annotated[Path, typer.Argument(help="The competition folder to create.")],
    external: Annotated[
        list[str] | None, typer.Option("--external", help="A folder of unlabelled images. Repeat.")
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="The source is a folder of images.")
    ] = False,
) -> None:
    """Copy a competition folder and identify its content by a digest.

    Example: ranzcr ingest s3://bucket/ranzcr competition
    """
    from ranzcr.stages import ingest as stage

    result = stage.run(source, out, externals=external or [], images=images)
    typer.echo(f"{out}: {result.files} files, digest {result.digest[:12]}")


@group.command()
def prepare(
    competition: Annotated[Path, typer.Argument(help="A competition folder.")],
    out: Annotated[Path, typer.Argument(help="The data set to create.")],
    size: Size = 512,
    folds: Folds = 5,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Validate a competition folder, deal folds, fill the image cache.

    Example: ranzcr prepare competition dataset --size 512 --folds 5
    """
    from ranzcr.stages import prepare as stage

    result = stage.run(competition, out, size=size, folds=folds, seed=seed, skip_bad=skip_bad)
    if result.joined:
        (first, second, *_), patients = result.joined[0], sum(map(len, result.joined))
        typer.echo(
            f"{out}: {patients} patients share X-rays and are dealt as {len(result.joined)} "
            f"({first} with {second}; see {out}/dataset.json)"
        )
    skipped = f", {result.skipped} skipped (see {out}/skipped.csv)" if result.skipped else ""
    typer.echo(
        f"{out}: {result.train} train, {result.test} test, {result.external} external{skipped}; "
        f"digest {result.digest[:12]}"
    )


@group.command()
def plan(
    experiments: Annotated[list[str], typer.Argument(help="Names or YAML files.")],
    dataset: Prepared,
    soft_labels: Soft = None,
    overrides: Override = None,
) -> None:
    """List the trainings of experiments, one JSON line per experiment and fold.

    Example: ranzcr plan smoke_a smoke_b --data dataset
    """
    import json

    from ranzcr.stages import plan as stage

    items = stage.run(experiments, dataset, soft_labels=soft_labels, overrides=overrides or [])
    for item in items:
        typer.echo(json.dumps(item))


@group.command()
def train(
    experiment: Annotated[str, typer.Argument(help="A name or a YAML file.")],
    dataset: Prepared,
    fold: Annotated[int, typer.Option("--fold", help="The fold to validate on.")],
    output: Output,
    soft_labels: Soft = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", help="Folder for the state of unfinished trainings."),
    ] = None,
    devices: Annotated[int, typer.Option("--devices", help="Number of GPUs.")] = 1,
    overrides: Override = None,
) -> None:
    """Train one fold of an experiment and write its checkpoint folder.

    Example: ranzcr train smoke_a --data dataset --fold 0 -o checkpoints/smoke_a-0
    """
    from ranzcr import config
    from ranzcr.stages import train as stage

    result = stage.run(
        config.load(experiment, overrides or []),
        dataset,
        output,
        fold=fold,
        soft_labels=soft_labels,
        resume=resume,
        devices=devices,
    )
    auc = _auc(result.valid_auc)
    typer.echo(f"{output}: validation AUC {auc}, MLflow run {result.run_id or 'none'}")


@group.command()
def predict(
    models: Annotated[list[Path], typer.Argument(help="Checkpoint folders, or one ensemble.")],
    source: Annotated[Path, typer.Option("--data", help="A data set or a folder of images.")],
    output: Output,
    tta: Tta = None,
) -> None:
    """Predict a data set with a fold model, or a folder of images with the mean of several.

    Example: ranzcr predict checkpoints/smoke_a-0 --data images -o predictions.csv --tta flip
    """
    from ranzcr.stages import predict as stage

    result = stage.run(models, source, output, tta=tta)
    typer.echo(f"{output}: {', '.join(str(file) for file in result.files)}")


@group.command()
def evaluate(
    predictions: Predicted,
    dataset: Prepared,
    output: Output,
) -> None:
    """Score experiments on their out-of-fold predictions and record it in the journal.

    Example: ranzcr evaluate predictions/smoke_a-* --data dataset -o evaluation
    """
    from ranzcr.stages import evaluate as stage

    result = stage.run(predictions, dataset, output)
    for experiment, auc in result.cv.items():
        typer.echo(f"{experiment}: cv_auc {_auc(auc)}")


@group.command()
def pseudo(
    predictions: Predicted,
    dataset: Prepared,
    output: Output,
) -> None:
    """Turn predictions of fold models into fold-matched soft labels.

    Example: ranzcr pseudo predictions/b7v3_001-* --data dataset -o soft-labels
    """
    from ranzcr.stages import pseudo as stage

    result = stage.run(predictions, dataset, output)
    counts = ", ".join(f"{count} {split}" for split, count in result.counts.items())
    typer.echo(f"{output}: soft labels of {counts}")


@group.command()
def blend(
    predictions: Annotated[list[Path], typer.Argument(help="Evaluations or predictions files.")],
    output: Output,
    dataset: Annotated[Path | None, typer.Option("--data", help="The prepared data set.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="A train.csv.")] = None,
    method: Annotated[
        str, typer.Option(help="weights, mean, subset, or package.function.")
    ] = "weights",
) -> None:
    """Blend members with weights found on out-of-fold predictions, scored across folds.

    With --data: evaluations in, a blend folder out, recorded in the journal.
    With --labels: predictions files in, a blended file out.

    Example: ranzcr blend a.csv b.csv --labels train.csv --method weights -o blend.csv
    """
    if (dataset is None) == (labels is None):
        raise ConfigError("blend: give either --data DATASET or --labels TRAIN_CSV")
    from ranzcr.stages import blend as stage

    if labels is not None:
        blended = stage.blend_files(predictions, labels, output, method)
        weights = ", ".join(f"{name} {weight:.3f}" for name, weight in blended.weights.items())
        typer.echo(f"{output}: cross-fitted cv_auc {_auc(blended.scores.cv_auc)}; {weights}")
        return
    assert dataset is not None
    result = stage.run(predictions, dataset, output, method=method)
    typer.echo(f"{output}: cross-fitted cv_auc {_auc(result.cv_auc)}")


@group.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="A predictions file.")],
    labels: LabelTable,
) -> None:
    """Print the macro AUC of a predictions file with its interval, and each label's.

    Example: ranzcr score oof.csv.gz --labels train.csv
    """
    from ranzcr.ensemble import score as scoring

    scores, truth = scoring.score(predictions, labels)
    patients = len(set(truth.patients) - {""})
    typer.echo(f"{predictions}: {len(truth.uids)} studies of {patients} patients")
    interval = f"[{_auc(scores.cv_auc_lo)}, {_auc(scores.cv_auc_hi)}]"
    typer.echo(f"{_auc(scores.cv_auc)} {interval} macro AUC")
    for label, auc in scores.auc.items():
        typer.echo(f"{_auc(auc)} {label}")


def _auc(value: float | None) -> str:
    """Format with four digits, or a dash if there is no AUC."""
    return "-" if value is None else f"{value:.4f}"


@group.command()
def export(
    blend: Annotated[Path, typer.Argument(help="A blend folder.")],
    checkpoints: Annotated[list[Path], typer.Argument(help="Its members' checkpoint folders.")],
    output: Output,
) -> None:
    """Export a blend's models to ONNX and check them against torch.

    Example: ranzcr export blend checkpoints/* -o ensemble
    """
    from ranzcr.stages import export as stage

    result = stage.run(blend, checkpoints, output)
    typer.echo(f"{output}: ONNX differs from torch by at most {result.max_abs_diff:.1e}")


@group.command()
def register(
    ensemble: Exported,
    blend: Annotated[Path, typer.Option("--blend", help="The blend folder it comes from.")],
    dataset: Prepared,
    output: Output,
    gates: Gates = None,
    min_auc: MinAuc = None,
) -> None:
    """Judge an ensemble at the gates and register it as a candidate.

    Example: ranzcr register ensemble --blend blend --data dataset -o candidate.json
    """
    from ranzcr.registry import gate_rules
    from ranzcr.stages import register as stage

    rules = gate_rules.load(gates, min_auc=min_auc)
    result = stage.run(ensemble, output, blend=blend, dataset=dataset, rules=rules)
    typer.echo(f"candidate version {result.version}: gate {result.gate}")


@group.command()
def promote(
    candidate: Annotated[Path, typer.Argument(help="What `ranzcr register` wrote.")],
    output: Output,
    why: Annotated[str, typer.Option("--why", help="For the ledger.")],
) -> None:
    """Make a registered candidate the champion, or request it if the server has roles.

    Example: ranzcr promote candidate.json -o promotion.json --why "best CV so far"
    """
    from ranzcr.stages import promote as stage

    result = stage.run(candidate, output, why=why)
    typer.echo(result.summary)


@group.command()
def bundle(
    ensemble: Exported,
    output: Output,
    competition: Annotated[
        Path | None, typer.Option("--competition", help="Run the bundle on its test images.")
    ] = None,
) -> None:
    """Pack an ensemble for an offline Kaggle kernel, and run it once.

    Example: ranzcr bundle ensemble --competition competition -o bundle
    """
    from ranzcr.stages import bundle as stage

    result = stage.run(ensemble, output, competition=competition)
    submission = f", submission {result.submission}" if result.submission else ""
    typer.echo(f"{output}: digest {result.digest[:12]}{submission}")


@group.command()
def fetch(
    version: VersionOrAlias,
    output: Output,
) -> None:
    """Fetch a registered version into a folder: its ensemble, its blend, its gates.

    Example: ranzcr fetch champion -o champion
    """
    from ranzcr.stages import fetch as stage

    paths = (output / "ensemble", output / "blend", output / "candidate.json")
    candidate = stage.run(version, *paths).candidate
    typer.echo(f"{output}: candidate {candidate.version}, gate {candidate.gate}")


@group.command()
def monitor(
    model: Annotated[Path, typer.Argument(help="What `ranzcr fetch` wrote.")],
    dataset: Prepared,
    output: Output,
) -> None:
    """Compare a data set with that of a model's training, and score the model on it.

    Exit code 2 if something is beyond its limit.

    Example: ranzcr monitor champion --data dataset -o report
    """
    from ranzcr.stages import monitor as stage

    result = stage.run(
        model / "ensemble",
        output,
        blend=model / "blend",
        dataset=dataset,
        candidate=model / "candidate.json",
    )
    for finding in result.findings:
        typer.echo(finding)
    if result.findings:
        raise typer.Exit(2)
    typer.echo(f"{output}: nothing beyond its limit")
