"""`ranzcr pipeline ...` on a cluster: submit, watch, resume, cancel, schedule, list, open."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.conventions import EXPERIMENT
from ranzcr.cli.options import Asked, PinnedImage, Profile, Provider, unfolded
from ranzcr.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pipelines.client.connection import Kfp
    from pipelines.client.submission import Submission

Pipeline = Annotated[str, typer.Argument(help="A pipeline's name, or a compiled FILE.yaml.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Its name or id, as the list shows them.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Until it ends; exit code 0 for success alone.")]


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What goes to a cluster and how, whenever it runs there."""

    others: Annotated[
        list[str] | None,
        typer.Option("--param", help="A parameter that has no option: KEY=VALUE. Repeat."),
    ] = None
    profile: Profile = None
    provider: Provider = None
    image: PinnedImage = None
    experiment: Annotated[
        str, typer.Option("--experiment", help="Of KFP, under which its pages show the run.")
    ] = EXPERIMENT
    plugin: Annotated[
        bool | None,
        typer.Option(
            "--mlflow-plugin/--no-mlflow-plugin",
            help="Whether KFP's MLflow plugin notes the run; as the server is set if not given.",
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent; ask no server.")
    ] = False


def join(group: typer.Typer) -> None:
    """Add the commands of this file to a group."""
    for command in (submit, status, logs, resume, cancel, schedule):
        group.command()(command)
    group.command("list")(list_runs)
    group.command("open")(open_page)


@unfolded
def submit(pipeline: Pipeline, asked: Asked, sent: Sent, wait: Wait = False) -> None:
    """Run a pipeline on Kubeflow Pipelines; the same again joins the run that is under way.

    Takes the options of `run`; tasks read --data and other folders on the cluster.

    Example: ranzcr pipeline submit competition --data s3://clip/train --first b7v3_001
    --second kdb4v3_b71_001 --profile gpu-small --image registry.example.com/ranzcr@sha256:0123
    """
    from pipelines.client import submission

    wanted = _submission(pipeline, asked, sent)
    if sent.dry_run:
        typer.echo(submission.shown(wanted, "/runs", wanted.run(submission.UNKNOWN, 1)))
        return
    kfp = _connect()
    run = submission.submit(kfp, wanted, _tell)
    _follow(kfp, run.run_id, wait)


def status(run: RunName, wait: Wait = False) -> None:
    """Print a run's state and tasks.

    Example: ranzcr pipeline status competition-3f2a9c1b-1 --wait
    """
    from pipelines.client import runs

    kfp = _connect()
    found = runs.find(kfp, run)
    if wait:
        found = runs.watch(kfp, found.run_id, _tell)
    typer.echo(runs.describe(kfp, found), nl=False)
    if wait:
        runs.require_success(found)


def logs(
    run: RunName,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Of this stage alone: train, evaluate ...")
    ] = None,
) -> None:
    """Print what the pods of a run said and how they ended; needs access to its namespace.

    Example: ranzcr pipeline logs competition-3f2a9c1b-1 --stage train
    """
    from pipelines import kube
    from pipelines.client import logs as pod_logs
    from pipelines.client import runs

    kfp = _connect()
    found = runs.find(kfp, run)
    client = kube.connect()
    every = pod_logs.pods(client, kfp.settings.namespace, found.run_id)
    if not every:
        _tell(f"run {found.display_name} has no pods in namespace {kfp.settings.namespace}")
    for one in pod_logs.select(every, stage):
        typer.echo(f"== {one}")
        for line in pod_logs.lines(client, one):
            typer.echo(line)


def resume(run: RunName, wait: Wait = False) -> None:
    """Go on with a run that failed or was cancelled: what is done is kept.

    Example: ranzcr pipeline resume competition-3f2a9c1b-1
    """
    from pipelines.client import runs

    kfp = _connect()
    found = runs.find(kfp, run)
    runs.resume(kfp, found)
    _follow(kfp, found.run_id, wait)


def cancel(run: RunName) -> None:
    """End a run; `resume` can take it up again.

    Example: ranzcr pipeline cancel competition-3f2a9c1b-1
    """
    from pipelines.client import runs

    kfp = _connect()
    found = runs.find(kfp, run)
    typer.echo(f"{found.display_name}: {runs.cancel(kfp, found)}")


@unfolded
def schedule(
    pipeline: Pipeline,
    asked: Asked,
    sent: Sent,
    cron: Annotated[
        str | None, typer.Option("--cron", help="Five or six fields, or @daily; in UTC.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Take the schedule away.")] = False,
) -> None:
    """Run a pipeline again and again; a pipeline has one schedule, and a new one replaces it.

    Takes the options of `submit`.

    Example: ranzcr pipeline schedule nightly --cron "0 2 * * *" --data s3://clip/train
    --profile cpu --image registry.example.com/ranzcr@sha256:0123
    """
    from pipelines.client import package, schedules, settings, submission

    if (cron is None) == (not off):
        raise ConfigError("give either --cron or --off")
    if cron is None:
        name = package.name_of(pipeline)
        typer.echo(f"{name}: {schedules.remove(_connect(), name)} schedules removed")
        return
    wanted = schedules.Schedule(_submission(pipeline, asked, sent), schedules.cron(cron))
    if sent.dry_run:
        body = wanted.request(submission.UNKNOWN, settings.namespace())
        typer.echo(submission.shown(wanted.submission, "/recurringruns", body))
        return
    made = schedules.schedule(_connect(), wanted, _tell)
    typer.echo(
        f"{made.display_name}: cron {wanted.cron} (second minute hour day month weekday), UTC"
    )


def list_runs(
    state: Annotated[
        str | None, typer.Option("--state", help="RUNNING, FAILED, SUCCEEDED ...")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Part of the run's name.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 20,
) -> None:
    """Print runs, the newest first.

    Example: ranzcr pipeline list --state FAILED --name competition
    """
    from pipelines.client import runs

    conditions = [("display_name", "IS_SUBSTRING", name)] if name else []
    if state:
        if state.upper() not in runs.STATES:
            raise ConfigError(f"no state {state!r}; {nearest(state.upper(), runs.STATES)}")
        conditions.append(("state", "EQUALS", state.upper()))
    typer.echo(runs.render(runs.search(_connect(), *conditions, limit=limit)), nl=False)


def open_page(run: RunName) -> None:
    """Print the address of a run's page and show it in the browser, if there is one.

    Example: ranzcr pipeline open competition-3f2a9c1b-1
    """
    import webbrowser

    from pipelines.client import runs

    kfp = _connect()
    address = runs.address(kfp, runs.find(kfp, run).run_id)
    typer.echo(address)
    webbrowser.open(address)


def _submission(pipeline: str, asked: Asked, sent: Sent) -> Submission:
    """What is to be run, checked; nothing is sent yet."""
    from pipelines import places, request
    from pipelines.client import package, submission

    found = package.load(pipeline, sent.image, sent.profile, sent.provider)
    arguments = request.check(
        found.name,
        found.parameters,
        places.Cluster(_tell),
        asked.overrides or [],
        asked.parameters,
        sent.others or [],
    )
    return submission.Submission(found, arguments, sent.experiment, sent.plugin)


def _connect() -> Kfp:
    from pipelines.client import connection, settings

    return connection.connect(settings.from_environment())


def _follow(kfp: Kfp, run_id: str, wait: bool) -> None:
    """Tell of a run that was started; with `wait`, until its end."""
    from pipelines.client import runs

    run = runs.find(kfp, run_id)
    typer.echo(f"{run.display_name}: {run.state}, {runs.address(kfp, run_id)}")
    if wait:
        run = runs.watch(kfp, run_id, _tell)
        runs.require_success(run)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
