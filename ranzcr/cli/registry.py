"""`ranzcr registry ...`: candidates, the champion, the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranzcr.cli.options import VersionOrAlias, Why
from ranzcr.errors import ConfigError

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The registry: candidates, the champion, the ledger.",
)


@group.command("list")
def registry_list() -> None:
    """Print production versions and candidates, which is champion, which waits or was rejected.

    Example: ranzcr registry list
    """
    from ranzcr.registry import show

    typer.echo(show.render(), nl=False)


@group.command("show")
def registry_show(version: VersionOrAlias) -> None:
    """Print what a candidate is: members, CV, data set, gates, people, when it was in production.

    Example: ranzcr registry show champion
    """
    from ranzcr.registry import show

    typer.echo(show.describe(version), nl=False)


@group.command("gate")
def registry_gate(
    version: VersionOrAlias,
    waive: Annotated[str | None, typer.Option("--waive", help="A failed gate to let pass.")] = None,
    why: Annotated[str | None, typer.Option("--why", help="The reason for --waive.")] = None,
) -> None:
    """Print a candidate's gates and the verdict; exit code 2 where the verdict is fail.

    With --waive, an approver answers for one failed gate first.

    Example: ranzcr registry gate 1 --waive latency --why "served on a GPU"
    """
    from ranzcr.registry import gates, show
    from ranzcr.registry import registry as models

    if (waive is None) != (why is None):
        raise ConfigError("give --waive GATE and --why TEXT together")
    if waive and why:
        models.waive(version, waive, why=why)
    stands = models.standing(version)
    for line in show.gate_lines(stands):
        typer.echo(line)
    if stands.report.result == gates.FAIL:
        raise typer.Exit(2)


@group.command("promote")
def registry_promote(version: VersionOrAlias, why: Why) -> None:
    """Put a candidate in use; where the server has roles, ask an approver to.

    Example: ranzcr registry promote 2 --why "0.004 better, no label worse"
    """
    from ranzcr.registry import registry as models

    typer.echo(models.promote(version, why=why).summary)


@group.command("approve")
def registry_approve(version: VersionOrAlias, why: Why) -> None:
    """Put a candidate in use as a second person: not who registered it or asked for it.

    Ends a rejection, too.

    Example: ranzcr registry approve challenger --why "read 50 studies with it"
    """
    from ranzcr.registry import registry as models

    typer.echo(models.approve(version, why=why).summary)


@group.command("reject")
def registry_reject(version: VersionOrAlias, why: Why) -> None:
    """Record that a candidate shall not be promoted, until it is approved.

    Example: ranzcr registry reject 2 --why "misses ETTs of the new scanner"
    """
    from ranzcr.registry import registry as models

    rejected = models.reject(version, why=why)
    typer.echo(f"candidate {rejected.version}: rejected")


@group.command("rollback")
def registry_rollback(why: Why) -> None:
    """Put the champion before the present one in use again; each call goes one further back.

    Example: ranzcr registry rollback --why "misses ETTs of the new scanner"
    """
    from ranzcr.registry import registry as models

    typer.echo(models.rollback(why=why).summary)


@group.command("verify")
def registry_verify(
    content: Annotated[
        bool, typer.Option("--content", help="Download all models and compare their digests, too.")
    ] = False,
) -> None:
    """Find what was changed in the registry by hand; exit code 2 where something was.

    Example: ranzcr registry verify --content
    """
    from ranzcr.registry import verification

    done = verification.verify(content=content)
    for finding in done.findings:
        typer.echo(finding)
    if done.findings:
        raise typer.Exit(2)
    last = f", the last hash {done.head}" if done.head else ""
    typer.echo(f"{done.entries} entries, chain intact{last}")


@group.command("ledger")
def registry_ledger() -> None:
    """Print who promoted what, when and why; checks the chain of hashes.

    Example: ranzcr registry ledger
    """
    from ranzcr.registry import ledger

    typer.echo(ledger.render(), nl=False)


@group.command("setup-roles")
def registry_setup_roles(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Users, roles.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Take the roles from users who are not in the file.")
    ] = False,
) -> None:
    """Give users their roles on a server with basic-auth, as its admin.

    Example: ranzcr registry setup-roles roles.yaml --dry-run
    """
    from ranzcr.registry import role_setup

    changes = role_setup.set_up(file, typer.echo, dry_run=dry_run, prune=prune)
    if dry_run or not changes:
        typer.echo("nothing was changed" if changes else "nothing to change")
