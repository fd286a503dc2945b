"""`ranzcr notify ...`: who is told of promotions, failed gates and runs that ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ranzcr.notify.webhooks import Tell

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Tell a chat of promotions, failed gates and runs that ended.",
)


@group.command()
def test() -> None:
    """Send a message to the chat.

    Example: ranzcr notify test
    """
    from ranzcr.notify import notify
    from ranzcr.tracking import provenance

    _to_chat()(notify.Event("ranzcr can write here", (("by", provenance.author()),)))
    typer.echo("sent")


@group.command()
def poll(
    once: Annotated[bool, typer.Option("--once", help="Look once, as a cron job does.")] = False,
    every: Annotated[float, typer.Option("--every", min=1, help="Seconds between looks.")] = 60,
) -> None:
    """Ask MLflow what has happened since the last time and tell the chat, each event once.

    The first look tells nothing: what is there by then is not news.

    Example: ranzcr notify poll --every 60
    """
    import time

    from ranzcr.errors import TrackingError
    from ranzcr.notify import notify, polling

    tell, said = _to_chat(), ""
    if once:
        typer.echo(f"{polling.look(tell)} events told")
        return
    while True:
        try:
            polling.look(tell)
            said = ""
        except TrackingError as problem:
            if str(problem) != said:  # an outage is one line, not one per look
                said = str(problem)
                notify.warn(said)
        time.sleep(every)


@group.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8089,
) -> None:
    """Receive MLflow's webhooks, prove that they are MLflow's, and tell the chat.

    Example: ranzcr notify serve --host 0.0.0.0 --port 8089
    """
    from ranzcr.notify import webhooks

    receiver = webhooks.Receiver(_secret(), _to_chat())
    with webhooks.Server(receiver, host, port) as server:
        typer.echo(f"receiving on http://{host}:{server.server_port}/")
        server.serve_forever()


@group.command()
def register(
    url: Annotated[str, typer.Argument(help="Of notify serve, as the MLflow server reaches it.")],
) -> None:
    """Have MLflow send the registry's events to URL, signed; again, it is changed, not doubled.

    Exit code 2 where MLflow's test delivery did not arrive.

    Example: ranzcr notify register https://hooks.example.com/
    """
    from ranzcr.notify import webhooks

    done = webhooks.register(url, _secret())
    typer.echo(f"webhook {webhooks.NAME} {'created' if done.created else 'changed'}")
    if done.problem:
        typer.echo(f"its test did not arrive: {done.problem}")
        raise typer.Exit(2)


def _to_chat() -> Tell:
    """Posts to the receiver that the environment names; it must name one."""
    from functools import partial

    from ranzcr.notify import notify

    return partial(notify.post, _required(notify.URL))


def _secret() -> str:
    from ranzcr.notify import webhooks

    return _required(webhooks.SECRET)


def _required(name: str) -> str:
    from ranzcr.errors import ConfigError
    from ranzcr.notify import notify

    found = notify.secret(name)
    if not found:
        raise ConfigError(f"{name} is not set; set it, or {name}_FILE to a file that holds it")
    return found
