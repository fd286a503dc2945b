"""`ranzcr pipeline ...` on a cluster: submit, watch, resume, cancel, schedule, list, open."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ranzcr.cli.options import (
    Override,
    PinnedImage,
    Profile,
    Provider,
    with_pipeline_options,
)
from ranzcr.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pipelines.client.connection import Kfp
    from pipelines.client.submission import RunSubmission

Pipeline = Annotated[str, typer.Argument(help="A pipeline's name, or a compiled FILE.yaml.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Its name or id, as the list shows them.")
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for its end; exit code 0 only if it succeeded.")
]


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """Options of `submit` and `schedule` besides the pipeline's parameters."""

    others: Annotated[
        list[str] | None,
        typer.Option("--param", help="A parameter that has no option: KEY=VALUE. Repeat."),
    ] = None
    profile: Profile = None
    provider: Provider = None
    image: PinnedImage = None
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", help="The KFP experiment to run it in: the competition's."),
    ] = None
    plugin: Annotated[
        bool | None,
        typer.Option(
            "--mlflow-plugin/--no-mlflow-plugin",
            help="Let KFP's MLflow plugin log the run, or not; the server decides if not given.",
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the requests without sending them.")
    ] = False


def join(group: typer.Typer) -> None:
    """Add the commands of this file to a group."""
    for command in (submit, status, logs, resume, cancel, schedule):
        group.command()(command)
    group.command("list")(list_runs)
    group.command("open")(open_page)


@with_pipeline_options
def submit(
    pipeline: Pipeline,
    values: dict[str, Any],
    options: SubmitOptions,
    overrides: Override = None,
    wait: Wait = False,
) -> None:
    """Run a pipeline on Kubeflow Pipelines; the same command again joins the active run.

    It takes the options of `run`; --data and other folders are those of the cluster.

    Example: ranzcr pipeline submit competition --data s3://clip/train --first b7v3_001
    --second kdb4v3_b71_001 --profile gpu-small --image registry.example.com/ranzcr@sha256:0123
    """
    from pipelines.client import submission

    request = _submission(pipeline, values, overrides, options)
    if options.dry_run:
        typer.echo(submission.as_text(request, "/runs", request.run(submission.UNKNOWN, 1)))
        return
    kfp = _connect()
    run = submission.submit(kfp, request, _report)
    _follow(kfp, run.run_id, wait)


def status(run: RunName, wait: Wait = False) -> None:
    """Print a run's state and tasks.

    Example: ranzcr pipeline status competition-3f2a9c1b-1 --wait
    """
    from pipelines.client import runs

    kfp = _connect()
    found = runs.find(kfp, run)
    if wait:
        found = runs.watch(kfp, found.run_id, _report)
    typer.echo(runs.describe(kfp, found), nl=False)
    if wait:
        runs.require_success(found)


def logs(
    run: RunName,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Only of this stage: train, evaluate ...")
    ] = None,
) -> None:
    """Print the logs of a run's pods and how they ended; needs access to its namespace.

    Example: ranzcr pipeline logs competition-3f2a9c1b-1 --stage train
    """
    from pipelines import kube
    from pipelines.client import logs as pod_logs
    from pipelines.client import runs

    kfp = _connect()
    found = runs.find(kfp, run)
    client = kube.connect()
    pods = pod_logs.pods(client, kfp.settings.namespace, found.run_id)
    if not pods:
        _report(f"run {found.display_name} has no pods in namespace {kfp.settings.namespace}")
    for pod in pod_logs.select(pods, stage):
        typer.echo(f"== {pod}")
        for line in pod_logs.lines(client, pod):
            typer.echo(line)


def resume(run: RunName, wait: Wait = False) -> None:
    """Resume a run that failed or was cancelled; finished tasks are kept.

    Example: ranzcr pipeline resume competition-3f2a9c1b-1
    """
    from pipelines.client import runs

    kfp = _connect()
    found = runs.find(kfp, run)
    runs.resume(kfp, found)
    _follow(kfp, found.run_id, wait)


def cancel(run: RunName) -> None:
    """Cancel a run; `resume` can continue it.

    Example: ranzcr pipeline cancel competition-3f2a9c1b-1
    """
    from pipelines.client import runs

    kfp = _connect()
    found = runs.find(kfp, run)
    typer.echo(f"{found.display_name}: {runs.cancel(kfp, found)}")


@with_pipeline_options
def schedule(
    pipeline: Pipeline,
    values: dict[str, Any],
    options: SubmitOptions,
    overrides: Override = None,
    cron: Annotated[
        str | None, typer.Option("--cron", help="Five or six fields, or @daily; in UTC.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Delete the schedule.")] = False,
) -> None:
    """Run a pipeline regularly; a pipeline has one schedule, and a new one replaces it.

    It takes the options of `submit`.

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
    request = _submission(pipeline, values, overrides, options)
    schedule = schedules.Schedule(request, schedules.cron(cron))
    if options.dry_run:
        body = schedule.request(submission.UNKNOWN, settings.namespace())
        typer.echo(submission.as_text(request, "/recurringruns", body))
        return
    created = schedules.schedule(_connect(), schedule, _report)
    typer.echo(
        f"{created.display_name}: cron {schedule.cron} (second minute hour day month weekday), UTC"
    )


def list_runs(
    state: Annotated[
        str | None, typer.Option("--state", help="RUNNING, FAILED, SUCCEEDED ...")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Part of the run's name.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 20,
) -> None:
    """Print runs, newest first.

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


def _submission(
    pipeline: str, values: dict[str, Any], overrides: Override, options: SubmitOptions
) -> RunSubmission:
    """Check the arguments of a run; nothing is sent yet."""
    from pipelines import locations, request
    from pipelines.client import package, submission
    from ranzcr import competitions

    compiled = package.load(pipeline, options.image, options.profile, options.provider)
    arguments = request.check(
        compiled.name,
        compiled.parameters,
        locations.RemoteCluster(_report),
        overrides or [],
        values,
        options.others or [],
    )
    experiment = options.experiment or competitions.current().name
    return submission.RunSubmission(compiled, arguments, experiment, options.plugin)


def _connect() -> Kfp:
    from pipelines.client import connection, settings

    return connection.connect(settings.from_environment())


def _follow(kfp: Kfp, run_id: str, wait: bool) -> None:
    """Print the state of a run that was started; with `wait`, until its end."""
    from pipelines.client import runs

    run = runs.find(kfp, run_id)
    typer.echo(f"{run.display_name}: {run.state}, {runs.address(kfp, run_id)}")
    if wait:
        run = runs.watch(kfp, run_id, _report)
        runs.require_success(run)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
