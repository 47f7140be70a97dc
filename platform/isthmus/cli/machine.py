"""The commands `ui` and `doctor`, for MLflow's page and the state of this machine."""

import os
import sys
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.numbers import whole_number
from isthmus.cli.tables import Rows
from isthmus.cli.terminal import out

if TYPE_CHECKING:
    from isthmus.spec import Settings

_MOST_PAGES = 8
_STYLE = {"ok": "green", "warn": "yellow", "fail": "red"}


def ui(
    port: Annotated[
        int | None,
        typer.Option(help="The port; by default 5000, or the next free one.", parser=whole_number),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    browser: Annotated[
        bool,
        typer.Option(
            "--open/--no-open",
            help="Open the newest experiment in the browser, where a terminal has a desktop.",
        ),
    ] = True,
) -> None:
    """Serve MLflow's page on the store that training writes to, until Ctrl-C.

    It prints links to the runs of each experiment, with their errors beside PCA's, and to the
    models.

    Example: isthmus ui --port 5001
    """
    from isthmus.spec import Settings
    from isthmus.stack.page import serve_page
    from isthmus.tracking.store import shown

    settings = Settings.from_environment()
    if settings.tracking_uri.startswith(("http://", "https://")):
        out.print(f"MLflow is a server already: {shown(settings.tracking_uri)}", markup=False)
        _show_pages(settings, shown(settings.tracking_uri), is_opened=browser)
        return
    with serve_page(settings, host, port) as page:
        out.print(f"MLflow page: [bold]{page.url}[/bold]  (Ctrl-C stops it)")
        _show_pages(settings, page.url, is_opened=browser)
        page.wait()
    out.print("Stopped.")


def _show_pages(settings: "Settings", url: str, *, is_opened: bool) -> None:
    """Prints links to what is worth looking at, and opens the first."""
    from isthmus.tracking import experiment_pages, models_page

    pages = [(page.name, page.url) for page in experiment_pages(settings, url)[:_MOST_PAGES]]
    links = [*pages, *([("all models", models_page(url))] if pages else [])]
    width = max((len(name) for name, _ in links), default=0)
    for name, link in links:
        out.print(f"  {name:<{width}}  {link}", markup=False)
    if links and is_opened and out.is_terminal and _has_desktop():
        webbrowser.open(links[0][1])


def _has_desktop() -> bool:
    """Returns whether a browser would open a window, and not take over the terminal."""
    return sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


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
