"""`ranzcr registry ...`: candidates, the champion, the ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from ranzcr.cli.options import CandidateVersion

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The registry: candidates, the champion, the ledger.",
)


@group.command("list")
def registry_list() -> None:
    """Print candidates and production versions, and which is champion.

    Example: ranzcr registry list
    """
    from ranzcr.tracking import registry as models

    typer.echo(models.render(), nl=False)


@group.command("show")
def registry_show(version: CandidateVersion) -> None:
    """Print what a candidate is: members, CV, data set, gates, when it was in production.

    Example: ranzcr registry show 1
    """
    from ranzcr.tracking import registry as models

    typer.echo(models.describe(version), nl=False)


@group.command("gate")
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


@group.command("rollback")
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


@group.command("verify")
def registry_verify() -> None:
    """Check the ledger's chain of hashes, and that the champion is of its last entry.

    Example: ranzcr registry verify
    """
    from ranzcr.tracking import registry as models

    typer.echo(f"{models.verify()} entries, chain intact")


@group.command("ledger")
def registry_ledger() -> None:
    """Print who promoted what, when and why; checks the chain of hashes.

    Example: ranzcr registry ledger
    """
    from ranzcr.tracking import ledger

    typer.echo(ledger.render(), nl=False)
