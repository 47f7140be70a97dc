"""The command `watch`, which completes, records and judges promotions in MLflow's page."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.terminal import err, out
from isthmus.errors import printable

if TYPE_CHECKING:
    from isthmus.promotion.watch import Watcher
    from isthmus.spec import Settings


def watch(
    poll: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help="The time between two looks at MLflow."),
    ] = 5.0,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Listen for MLflow's webhooks too, which are quicker; 127.0.0.1:0 takes a free "
            "port. Needs ISTHMUS_WEBHOOK_SECRET.",
            show_default=False,
        ),
    ] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Register the webhooks in MLflow while this runs.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(
            help="The URL for MLflow, if it is not http://HOST:PORT/mlflow.", show_default=False
        ),
    ] = None,
    subscriptions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The jobs to run again for a new champion.", show_default=False
        ),
    ] = None,
) -> None:
    """Follow promotions in MLflow's page, until Ctrl-C.

    If one half gets an alias, the other half gets it too. A new champion must pass the gate, or
    the alias is put back. Then the jobs that subscribe to the model run again.

    Example: isthmus watch --subscriptions pipelines/subscriptions.yaml
    """
    if listen is None and (register or url is not None):
        raise typer.BadParameter("--register and --url go with --listen HOST:PORT")
    from isthmus.promotion.subscriptions import read_subscriptions
    from isthmus.promotion.watch import Watcher
    from isthmus.spec import Settings

    settings = Settings.from_environment()
    follow = read_subscriptions(subscriptions) if subscriptions else ()
    watcher = Watcher(settings, _tell, subscriptions=follow, poll_s=poll)
    with ExitStack() as open_until_the_end:
        try:
            if listen is not None:
                _listen(listen, url, register, settings, watcher, open_until_the_end)
            every = f"every {poll:g} s"
            out.print(f"Watching {_shown(settings.tracking_uri)} {every}  (Ctrl-C stops)")
            watcher.run()
        except KeyboardInterrupt:
            err.print("Stopped.")


def _listen(
    address: str,
    url: str | None,
    register: bool,
    settings: "Settings",
    watcher: "Watcher",
    open_until_the_end: ExitStack,
) -> None:
    from isthmus.promotion.receiver import PATH, SECRET_VARIABLE, listen, register_until_the_end

    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise typer.BadParameter(
            f"--listen {printable(address)} is not HOST:PORT, as in 127.0.0.1:0"
        )
    secret = os.environ.get(SECRET_VARIABLE, "")
    taken = open_until_the_end.enter_context(
        listen(host.strip("[]"), int(port), secret, watcher.bell.ring)
    )
    url = url or f"http://{host}:{taken}{PATH}"
    out.print(f"Listening for MLflow's webhooks: [bold]{url}[/bold]")
    if not register:
        out.print("  --register has MLflow call it; by hand: MlflowClient().create_webhook")
        return
    trouble = open_until_the_end.enter_context(register_until_the_end(url, secret, settings))
    if trouble:
        err.print(f"  MLflow does not reach it, and is polled alone: {trouble}", markup=False)
    else:
        out.print("  MLflow reaches it")


def _shown(uri: str) -> str:
    from isthmus.tracking.store import shown

    return shown(uri)


def _tell(line: str) -> None:
    from datetime import datetime

    out.print(f"{datetime.now():%H:%M:%S} {line}", markup=False)
