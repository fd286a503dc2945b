"""`ranzcr ...`: every command is a stage or reads what stages wrote.

Heavy imports stand inside the commands, so that `ranzcr --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ranzcr.errors import ConfigError, one_line

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Catheter and line position on chest X-rays: from images to a promoted model.",
)


def _group(name: str, about: str, *, bare: bool = False) -> typer.Typer:
    group = typer.Typer(no_args_is_help=not bare, rich_markup_mode=None, help=about)
    app.add_typer(group, name=name)
    return group


data = _group("data", "Phantoms, folds: what comes before a data set.")
pipeline = _group("pipeline", "Run a pipeline here, or compile it for a cluster.")
journal = _group("journal", "The lab journal: what was tried, what it scored.", bare=True)
registry = _group("registry", "The registry: candidates, the champion, the ledger.")
lb = _group("lb", "Leaderboard scores in the journal.")

Output = Annotated[Path, typer.Option("-o", "--output", help="Where to write.", show_default=False)]
Override = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: data.batch_size=8. Repeat.")
]
Size = Annotated[int, typer.Option("--size", help="Pixels per side of the image cache.")]
Folds = Annotated[int, typer.Option("--folds", help="Patient-grouped folds.")]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same result.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Go on without unreadable images; lists them in a file.")
]
Tta = Annotated[str | None, typer.Option("--tta", help="flip or none; the model's own if not set.")]
CandidateVersion = Annotated[str, typer.Argument(help="Of the candidates, as the list shows it.")]
JournalRun = Annotated[str, typer.Argument(help="An experiment, an ensemble or a run id.")]
LabelTable = Annotated[Path, typer.Option("--labels", help="A train.csv with the true labels.")]


# --- data ------------------------------------------------------------------------------------


@data.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="The competition folder to make.")],
    studies: Annotated[int, typer.Option("--studies", help="Train images.")] = 600,
    size: Annotated[int, typer.Option("--size", help="Pixels per side.")] = 512,
    seed: Seed = 0,
) -> None:
    """Draw phantom chest X-rays in competition form.

    Example: ranzcr data phantom phantoms --studies 600 --size 512 --seed 0
    """
    from ranzcr.data import phantom as phantoms

    phantoms.write_competition(out, studies=studies, size=size, seed=seed)
    typer.echo(f"{out}: {studies} phantom studies of {size} px and a test folder")


@data.command()
def folds(
    train_csv: Annotated[Path, typer.Argument(help="A train.csv.")],
    output: Output = Path("folds.csv"),
    folds: Folds = 5,
    seed: Seed = 0,
    method: Annotated[str, typer.Option(help="greedy, stratified or group.")] = "greedy",
    compare: Annotated[bool, typer.Option("--compare", help="Print how each method does.")] = False,
) -> None:
    """Deal studies into folds, each patient whole and each label evenly.

    Example: ranzcr data folds train.csv -o folds.csv --folds 5 --seed 0 --compare
    """
    from ranzcr.data import folds as dealing
    from ranzcr.files import replacing

    if compare:
        typer.echo(dealing.compare(train_csv, folds, seed).to_string(index=False))
    table = dealing.fold_table(train_csv, folds, seed, method)
    with replacing(output) as beside:
        table.to_csv(beside, index=False)
    typer.echo(f"{output}: {len(table)} studies of {table.PatientID.nunique()} patients")


# --- stages ----------------------------------------------------------------------------------


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="A folder, s3://bucket/prefix or kaggle:NAME.")],
    out: Annotated[Path, typer.Argument(help="The competition folder to make.")],
    external: Annotated[
        list[str] | None, typer.Option("--external", help="A folder of unlabelled images. Repeat.")
    ] = None,
) -> None:
    """Bring a competition folder in and name its content by a digest.

    Example: ranzcr ingest s3://bucket/ranzcr competition
    """
    from ranzcr.stages import ingest as stage

    result = stage.run(source, out, externals=external or [])
    typer.echo(f"{out}: {result.files} files, digest {result.digest[:12]}")


@app.command()
def prepare(
    competition: Annotated[Path, typer.Argument(help="A competition folder.")],
    out: Annotated[Path, typer.Argument(help="The data set to make.")],
    size: Size = 512,
    folds: Folds = 5,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Validate a competition folder, deal folds, fill the image cache.

    Example: ranzcr prepare competition dataset --size 512 --folds 5
    """
    from ranzcr.stages import prepare as stage

    done = stage.run(competition, out, size=size, folds=folds, seed=seed, skip_bad=skip_bad)
    skipped = f", {done.skipped} skipped (see {out}/skipped.csv)" if done.skipped else ""
    typer.echo(
        f"{out}: {done.train} train, {done.test} test, {done.external} external{skipped}; "
        f"digest {done.digest[:12]}"
    )


@app.command()
def plan(
    experiments: Annotated[list[str], typer.Argument(help="Names or YAML files.")],
    dataset: Annotated[Path, typer.Option("--data", help="A prepared data set.")],
    soft_labels: Annotated[Path | None, typer.Option("--soft-labels")] = None,
    overrides: Override = None,
) -> None:
    """Print what would be trained, one JSON line per experiment and fold.

    Example: ranzcr plan smoke_a smoke_b --data dataset
    """
    import json

    from ranzcr.stages import plan as stage

    items = stage.run(experiments, dataset, soft_labels=soft_labels, overrides=overrides or [])
    for item in items:
        typer.echo(json.dumps(item))


@app.command()
def train(
    experiment: Annotated[str, typer.Argument(help="A name or a YAML file.")],
    dataset: Annotated[Path, typer.Option("--data", help="A prepared data set.")],
    fold: Annotated[int, typer.Option("--fold", help="The fold to validate on.")],
    output: Output,
    soft_labels: Annotated[
        Path | None, typer.Option("--soft-labels", help="What `ranzcr pseudo` wrote.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", help="Keeps the state of unfinished trainings."),
    ] = None,
    devices: Annotated[int, typer.Option("--devices", help="GPUs.")] = 1,
    overrides: Override = None,
) -> None:
    """Train one fold of an experiment; the checkpoint folder is the result.

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
    typer.echo(f"{output}: validation AUC {result.valid_auc:.4f}, MLflow run {result.run_id}")


@app.command()
def predict(
    models: Annotated[list[Path], typer.Argument(help="Checkpoint folders.")],
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


@app.command()
def evaluate(
    predictions: Annotated[list[Path], typer.Argument(help="What `ranzcr predict` wrote.")],
    dataset: Annotated[Path, typer.Option("--data", help="The prepared data set.")],
    output: Output,
) -> None:
    """Score experiments on their out-of-fold predictions and write it to the journal.

    Example: ranzcr evaluate predictions/smoke_a-* --data dataset -o evaluation
    """
    from ranzcr.stages import evaluate as stage

    result = stage.run(predictions, dataset, output)
    for experiment, auc in result.cv.items():
        typer.echo(f"{experiment}: cv_auc {_auc(auc)}")


@app.command()
def pseudo(
    predictions: Annotated[list[Path], typer.Argument(help="What `ranzcr predict` wrote.")],
    dataset: Annotated[Path, typer.Option("--data", help="The prepared data set.")],
    output: Output,
) -> None:
    """Turn predictions of fold models into fold-matched soft labels.

    Example: ranzcr pseudo predictions/b7v3_001-* --data dataset -o soft-labels
    """
    from ranzcr.stages import pseudo as stage

    result = stage.run(predictions, dataset, output)
    counts = ", ".join(f"{count} {split}" for split, count in result.counts.items())
    typer.echo(f"{output}: soft labels of {counts}")


@app.command()
def blend(
    predictions: Annotated[list[Path], typer.Argument(help="Evaluations or predictions files.")],
    output: Output,
    dataset: Annotated[Path | None, typer.Option("--data", help="The prepared data set.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="A train.csv.")] = None,
    method: Annotated[str, typer.Option(help="weights, mean or subset.")] = "weights",
) -> None:
    """Blend members with weights found on out-of-fold predictions, scored across folds.

    With --data: evaluations in, a blend folder out, written to the journal.
    With --labels: predictions files in, one blended file out.

    Example: ranzcr blend a.csv b.csv --labels train.csv --method weights -o blend.csv
    """
    if (dataset is None) == (labels is None):
        raise ConfigError("blend: give either --data DATASET or --labels TRAIN_CSV")
    from ranzcr.stages import blend as stage

    if labels is not None:
        found = stage.blend_files(predictions, labels, output, method)
        weights = ", ".join(f"{name} {weight:.3f}" for name, weight in found.weights.items())
        typer.echo(f"{output}: cross-fitted cv_auc {_auc(found.scores['macro_auc'])}; {weights}")
        return
    assert dataset is not None
    result = stage.run(predictions, dataset, output, method=method)
    typer.echo(f"{output}: cross-fitted cv_auc {_auc(result.cv_auc)}")


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="A predictions file.")],
    labels: LabelTable,
) -> None:
    """Print the macro AUC of a predictions file with its interval, and each label's.

    Example: ranzcr score oof.csv.gz --labels train.csv
    """
    from ranzcr.ensemble import score as scoring

    told = scoring.score(predictions, labels)
    typer.echo(f"{predictions}: {told['rows']} studies of {told['patients']} patients")
    interval = f"[{_auc(told['macro_auc_lo'])}, {_auc(told['macro_auc_hi'])}]"
    typer.echo(f"{_auc(told['macro_auc'])} {interval} macro AUC")
    for label, auc in told["auc"].items():
        typer.echo(f"{_auc(auc)} {label}")


def _auc(value: float | None) -> str:
    """Four digits, or a dash where a label has not both classes."""
    return "-" if value is None else f"{value:.4f}"


@app.command()
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


@app.command()
def register(
    ensemble: Annotated[Path, typer.Argument(help="What `ranzcr export` wrote.")],
    blend: Annotated[Path, typer.Option("--blend", help="The blend folder it comes from.")],
    dataset: Annotated[Path, typer.Option("--data", help="The prepared data set.")],
    output: Output,
    min_auc: Annotated[float, typer.Option(help="Bound on the interval's lower end.")] = 0.5,
) -> None:
    """Judge an ensemble at the gates and register it as a candidate.

    Example: ranzcr register ensemble --blend blend --data dataset -o candidate.json
    """
    from ranzcr.stages import register as stage

    result = stage.run(ensemble, output, blend=blend, dataset=dataset, min_auc=min_auc)
    typer.echo(f"candidate version {result.version}: gate {result.gate}")


@app.command()
def promote(
    candidate: Annotated[Path, typer.Argument(help="What `ranzcr register` wrote.")],
    output: Output,
    why: Annotated[str, typer.Option("--why", help="For the ledger.")],
) -> None:
    """Make a registered candidate the champion.

    Example: ranzcr promote candidate.json -o promotion.json --why "best CV so far"
    """
    from ranzcr.stages import promote as stage

    result = stage.run(candidate, output, why=why)
    typer.echo(f"champion: version {result.version} (before: {result.previous or 'none'})")


@app.command()
def bundle(
    ensemble: Annotated[Path, typer.Argument(help="What `ranzcr export` wrote.")],
    output: Output,
    competition: Annotated[
        Path | None, typer.Option("--competition", help="Run the bundle on its test images.")
    ] = None,
) -> None:
    """Pack an ensemble for an offline Kaggle kernel, and try it.

    Example: ranzcr bundle ensemble --competition competition -o bundle
    """
    from ranzcr.stages import bundle as stage

    result = stage.run(ensemble, output, competition=competition)
    made = f", submission {result.submission}" if result.submission else ""
    typer.echo(f"{output}: digest {result.digest[:12]}{made}")


# --- pipelines -------------------------------------------------------------------------------


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


@pipeline.command("run")
def pipeline_run(
    name: Annotated[str, typer.Argument(help="competition")],
    source: Annotated[str, typer.Option("--data", help="A folder, s3://... or kaggle:NAME.")],
    first: Annotated[str, typer.Option("--first", help="First-stage experiments: A,B")],
    second: Annotated[str, typer.Option("--second", help="Second-stage experiments: C")],
    folds: Folds = 5,
    seed: Seed = 0,
    size: Annotated[
        int | None, typer.Option("--size", help="Of the image cache; the largest needed if not set")
    ] = None,
    external: Annotated[
        list[str] | None, typer.Option("--external", help="A folder of unlabelled images. Repeat.")
    ] = None,
    method: Annotated[str, typer.Option("--blend", help="weights, mean or subset.")] = "weights",
    min_auc: Annotated[float, typer.Option(help="Gate: bound on the interval's lower end.")] = 0.5,
    parallel: Annotated[
        int | None, typer.Option(help="Trainings at a time; 1 with a GPU, else 2.")
    ] = None,
    skip_bad: SkipBad = False,
    overrides: Override = None,
) -> None:
    """Run a pipeline on this machine; run it again to resume from the cache.

    Example: ranzcr pipeline run competition --data phantoms --first smoke_a,smoke_b
    --second smoke_student --folds 3
    """
    from pipelines import launch

    launch.run(
        name,
        source=source,
        first=_names(first),
        second=_names(second),
        folds=folds,
        seed=seed,
        image_size=size,
        externals=external or [],
        blend_method=method,
        min_auc=min_auc,
        skip_bad=skip_bad,
        overrides=overrides or [],
        parallel=parallel,
    )


@pipeline.command("compile")
def pipeline_compile(
    name: Annotated[str, typer.Argument(help="competition")],
    output: Output,
    image: Annotated[
        str | None, typer.Option("--image", help="The components' image: name@sha256:...")
    ] = None,
) -> None:
    """Compile a pipeline to the YAML that Kubeflow Pipelines takes.

    Example: ranzcr pipeline compile competition -o competition.yaml
    """
    from pipelines import launch

    launch.compile_to(name, output, image)
    typer.echo(f"{output}: pipeline {name}")


# --- journal and registry --------------------------------------------------------------------


@journal.callback(invoke_without_command=True)
def journal_default(context: typer.Context) -> None:
    """The lab journal: what was tried, what it scored. Bare, it prints the journal.

    Example: ranzcr journal
    """
    if context.invoked_subcommand is None:
        journal_show(output_format="table", kind=None, sort="cv_auc", limit=None)


@journal.command("show")
def journal_show(
    output_format: Annotated[
        str, typer.Option("--format", help="table, md, csv or html.")
    ] = "table",
    kind: Annotated[str | None, typer.Option(help="single, ensemble or pseudo.")] = None,
    sort: Annotated[str, typer.Option(help="A metric.")] = "cv_auc",
    limit: Annotated[int | None, typer.Option(help="At most this many rows.")] = None,
) -> None:
    """Print the journal: single models, soft labels, ensembles.

    Example: ranzcr journal show --format md --kind single --sort cv_auc --limit 20
    """
    from ranzcr.tracking import journal as record

    rows = record.rows(kind=kind, sort=sort, limit=limit)
    typer.echo(record.render(rows, output_format), nl=False)


@journal.command("diff")
def journal_diff(
    a: JournalRun,
    b: JournalRun,
    dataset: Annotated[
        Path | None,
        typer.Option("--data", help="Their prepared data set: adds how probably B is better."),
    ] = None,
) -> None:
    """Compare two runs: settings, inputs, AUC by label.

    Example: ranzcr journal diff smoke_a smoke_b --data dataset
    """
    from ranzcr.tracking import diff

    typer.echo(diff.render(diff.compare(a, b, dataset)), nl=False)


@journal.command("note")
def journal_note(
    run: JournalRun,
    text: Annotated[str, typer.Argument(help="One line; date and author are added.")],
) -> None:
    """Add a line to the description of a run.

    Example: ranzcr journal note smoke_a "the 12th epoch adds nothing"
    """
    from ranzcr.tracking import journal as record

    run_id = record.note(run, text)
    typer.echo(f"{run}: note written to run {run_id}")


@journal.command("decide")
def journal_decide(
    run: JournalRun,
    decision: Annotated[str, typer.Argument(help="Shown in the journal; replaces an earlier one.")],
) -> None:
    """Write what was decided about a run, by whom and when.

    Example: ranzcr journal decide smoke_a "keep as teacher"
    """
    from ranzcr.tracking import journal as record

    run_id = record.decide(run, decision)
    typer.echo(f"{run}: decision written to run {run_id}")


@lb.command("set")
def lb_set(
    run: JournalRun,
    public: Annotated[float | None, typer.Option("--public")] = None,
    private: Annotated[float | None, typer.Option("--private")] = None,
) -> None:
    """Write leaderboard scores to a row of the journal.

    Example: ranzcr lb set b7v3_001 --public 0.968 --private 0.969
    """
    from ranzcr.tracking import journal as record

    run_id = record.set_lb(run, public=public, private=private)
    typer.echo(f"{run}: leaderboard scores written to run {run_id}")


@registry.command("list")
def registry_list() -> None:
    """Print candidates and production versions, and which is champion.

    Example: ranzcr registry list
    """
    from ranzcr.tracking import registry as models

    typer.echo(models.render(), nl=False)


@registry.command("show")
def registry_show(version: CandidateVersion) -> None:
    """Print what a candidate is: members, CV, data set, gates, when it was in production.

    Example: ranzcr registry show 1
    """
    from ranzcr.tracking import registry as models

    typer.echo(models.describe(version), nl=False)


@registry.command("gate")
def registry_gate(version: CandidateVersion) -> None:
    """Print a candidate's gates and the verdict; exit code 2 where the verdict is fail.

    Example: ranzcr registry gate 1
    """
    from ranzcr.tracking import gates
    from ranzcr.tracking import registry as models

    report = models.gate_report(version)
    for gate in report.gates:
        typer.echo(f"{gate.result}  {gate.name}: {gate.text}")
    typer.echo(f"candidate version {version}: gate {report.result}")
    if report.result == gates.FAIL:
        raise typer.Exit(2)


@registry.command("rollback")
def registry_rollback(
    why: Annotated[str, typer.Option("--why", help="For the ledger.")],
) -> None:
    """Put the champion before the present one in use again; each call goes one further back.

    Example: ranzcr registry rollback --why "misses ETTs of the new scanner"
    """
    from ranzcr.tracking import provenance
    from ranzcr.tracking import registry as models

    done = models.rollback(who=provenance.author(), why=why)
    typer.echo(f"champion: version {done.version} (before: {done.previous})")


@registry.command("verify")
def registry_verify() -> None:
    """Check the ledger's chain of hashes, and that the champion is of its last entry.

    Example: ranzcr registry verify
    """
    from ranzcr.tracking import registry as models

    typer.echo(f"{models.verify()} entries, chain intact")


@registry.command("ledger")
def registry_ledger() -> None:
    """Print who promoted what, when and why; checks the chain of hashes.

    Example: ranzcr registry ledger
    """
    from ranzcr.tracking import ledger

    typer.echo(ledger.render(), nl=False)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 5000,
) -> None:
    """Open MLflow's pages on the journal; Ctrl-C ends them.

    Example: ranzcr ui --port 5000
    """
    import os

    from ranzcr.tracking import journal as record

    pages = record.ui_command(port)
    typer.echo(pages.link)
    if pages.argv:
        os.execve(pages.argv[0], pages.argv, dict(pages.env))


def _version(shown: bool) -> None:
    if shown:
        from importlib.metadata import version

        typer.echo(version("ranzcr"))
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and stop.")
    ] = False,
) -> None:
    """Catheter and line position on chest X-rays: from images to a promoted model."""


def main() -> None:
    """Run the command line: 0 when done, 2 for what the user can mend, 1 for what is our fault."""
    try:
        with one_line("ranzcr"):
            app()
    except (KeyboardInterrupt, BrokenPipeError):
        raise SystemExit(130) from None
    except Exception as error:
        _crash(error)


def _crash(error: Exception) -> None:
    """One line for an error of ours; the traceback goes to a file that a report can bring along."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="ranzcr-crash-", suffix=".txt", delete=False
    ) as report:
        traceback.print_exception(error, file=report)
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    print(
        f"ranzcr: crashed, which is our fault: {what}; traceback in {report.name}", file=sys.stderr
    )
    raise SystemExit(1) from None
