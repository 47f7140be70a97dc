"""The commands `ui` and `doctor`, for MLflow's page and the state of this machine."""

from typing import Annotated

import typer

from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.numbers import whole_number
from isthmus.cli.tables import Rows
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


def doctor(as_json: AsJson = False) -> None:
    """Check what is installed and what is reachable, and print what to fix.

    Example: isthmus doctor
    """
    from isthmus.spec import Settings
    from isthmus.stack.doctor import examine

    findings = list(examine(Settings.from_environment()))
    if as_json:
        print_json(findings)
    else:
        table = Rows(("verdict", "subject", ""), lead=2, prose=2, has_header=False)
        for each in findings:
            table.add(each.verdict, each.subject, each.said, verdict=_STYLE[each.verdict])
        table.show()
    if any(each.verdict == "fail" for each in findings):
        raise typer.Exit(1)
