"""`ranzcr notify ...`: post promotions, failed gates and ended runs to a chat."""

from __future__ import annotations

from typing import Annotated

import typer

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Post promotions, failed gates and ended runs to a chat.",
)


@group.command()
def test() -> None:
    """Send a message to the chat.

    Example: ranzcr notify test
    """
    from ranzcr import notify
    from ranzcr.tracking import provenance

    event = notify.Event("ranzcr can write here", (("by", provenance.author()),))
    notify.post(notify.chat_url(), event)
    typer.echo("sent")


@group.command()
def poll(
    once: Annotated[bool, typer.Option("--once", help="Poll once, as a cron job does.")] = False,
    every: Annotated[float, typer.Option("--every", min=1, help="Seconds between polls.")] = 60,
) -> None:
    """Ask MLflow what is new since the last poll and post it to the chat, each event once.

    The first poll sends nothing: it takes everything up to then as sent.

    Example: ranzcr notify poll --every 60
    """
    from functools import partial

    from ranzcr import notify, poller

    post = partial(notify.post, notify.chat_url())
    if once:
        typer.echo(f"{poller.poll(post)} events sent")
    else:
        poller.watch(post, every)
