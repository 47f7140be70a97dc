"""The commands `ui` and `doctor`, for MLflow's page and the state of this machine."""

from typing import Annotated

import typer

from isthmus.cli.numbers import whole_number
from isthmus.cli.terminal import out

_STYLE = {"ok": "green", "warn": "yellow", "fail": "red"}


def ui(
    port: Annotated[
        int | None,
        typer.Option(help="The port; by default 5000, or the next free one.", parser=whole_number),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve MLflow's page on the store that training writes to, until Ctrl-C.

    Example: isthmus ui --port 5001
    """
    from isthmus.spec import Settings
    from isthmus.stack.page import serve_page

    settings = Settings.from_environment()
    if settings.tracking_uri.startswith(("http://", "https://")):
        out.print(f"MLflow is a server already: {settings.tracking_uri}")
        return
    with serve_page(settings, host, port) as page:
        out.print(f"MLflow page: [bold]{page.url}[/bold]  (Ctrl-C stops it)")
        page.wait()
    out.print("Stopped.")


def doctor() -> None:
    """Check what is installed and what is reachable, and print what to fix.

    Example: isthmus doctor
    """
    from rich.table import Table

    from isthmus.spec import Settings
    from isthmus.stack.doctor import examine

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    failed = False
    for finding in examine(Settings.from_environment()):
        failed = failed or finding.verdict == "fail"
        style = _STYLE[finding.verdict]
        table.add_row(f"[{style}]{finding.verdict}[/{style}]", finding.subject, finding.said)
    out.print(table)
    if failed:
        raise typer.Exit(1)
