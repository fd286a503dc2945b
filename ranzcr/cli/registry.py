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
    """Print production versions and candidates: champion, waiting, rejected.

    Example: ranzcr registry list
    """
    from ranzcr.registry import show

    typer.echo(show.render(), nl=False)


@group.command("show")
def registry_show(version: VersionOrAlias) -> None:
    """Print a candidate: members, CV, data set, gates, people, its time in production.

    Example: ranzcr registry show champion
    """
    from ranzcr.registry import show

    typer.echo(show.describe(version), nl=False)


@group.command("gate")
def registry_gate(
    version: VersionOrAlias,
    waive: Annotated[str | None, typer.Option("--waive", help="Let this failed gate pass.")] = None,
    why: Annotated[str | None, typer.Option("--why", help="The reason for --waive.")] = None,
) -> None:
    """Print a candidate's gates and the verdict; exit code 2 if the verdict is fail.

    With --waive, an approver lets one failed gate pass first.

    Example: ranzcr registry gate 1 --waive latency --why "served on a GPU"
    """
    from ranzcr.registry import gates, registry, show

    if (waive is None) != (why is None):
        raise ConfigError("give --waive GATE and --why TEXT together")
    if waive and why:
        registry.waive(version, waive, why=why)
    standing = registry.standing(version)
    for line in show.gate_lines(standing):
        typer.echo(line)
    if standing.report.result == gates.FAIL:
        raise typer.Exit(2)


@group.command("promote")
def registry_promote(version: VersionOrAlias, why: Why) -> None:
    """Put a candidate in use; on a server with roles, ask an approver to.

    Example: ranzcr registry promote 2 --why "0.004 better, no label worse"
    """
    from ranzcr.registry import registry

    typer.echo(registry.promote(version, why=why).summary)


@group.command("approve")
def registry_approve(version: VersionOrAlias, why: Why) -> None:
    """Put a candidate in use that somebody else registered and requested.

    Also ends a rejection.

    Example: ranzcr registry approve challenger --why "read 50 studies with it"
    """
    from ranzcr.registry import registry

    typer.echo(registry.approve(version, why=why).summary)


@group.command("reject")
def registry_reject(version: VersionOrAlias, why: Why) -> None:
    """Record that a candidate shall not be promoted, until it is approved.

    Example: ranzcr registry reject 2 --why "misses ETTs of the new scanner"
    """
    from ranzcr.registry import registry

    rejected = registry.reject(version, why=why)
    typer.echo(f"candidate {rejected.version}: rejected")


@group.command("rollback")
def registry_rollback(why: Why) -> None:
    """Put the previous champion in use again; each call goes back one more.

    Example: ranzcr registry rollback --why "misses ETTs of the new scanner"
    """
    from ranzcr.registry import registry

    typer.echo(registry.rollback(why=why).summary)


@group.command("verify")
def registry_verify(
    content: Annotated[
        bool, typer.Option("--content", help="Also download all models and compare their digests.")
    ] = False,
) -> None:
    """Find what was changed in the registry by hand; exit code 2 if something was.

    Example: ranzcr registry verify --content
    """
    from ranzcr.registry import verification

    result = verification.verify(content=content)
    for finding in result.findings:
        typer.echo(finding)
    if result.findings:
        raise typer.Exit(2)
    last = f", the last hash {result.head}" if result.head else ""
    typer.echo(f"{result.entries} entries, chain intact{last}")


@group.command("ledger")
def registry_ledger() -> None:
    """Print every promotion and rollback: time, author, reason; checks the chain of hashes.

    Example: ranzcr registry ledger
    """
    from ranzcr.registry import ledger

    typer.echo(ledger.render(), nl=False)


@group.command("setup-roles")
def registry_setup_roles(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Users and roles.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the changes.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Take the roles from users outside the file.")
    ] = False,
) -> None:
    """Give users their roles on a server with basic-auth, as its admin.

    Example: ranzcr registry setup-roles roles.yaml --dry-run
    """
    from ranzcr.registry import role_setup

    changes = role_setup.set_up(file, typer.echo, dry_run=dry_run, prune=prune)
    if dry_run or not changes:
        typer.echo("nothing was changed" if changes else "nothing to change")
