"""The commands `stack up`, `status`, `logs`, `down` and `env`, for servers on this machine."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.numbers import whole_number
from isthmus.cli.panels import Panels
from isthmus.cli.tables import Rows
from isthmus.cli.terminal import age, err, out
from isthmus.errors import printable

if TYPE_CHECKING:
    from isthmus.stack.local import Stack
    from isthmus.stack.service import Service

stack = typer.Typer(
    cls=Panels,
    no_args_is_help=True,
    help="Postgres, S3, MLflow, Ray and Prefect on this machine, without Docker.",
)

Folder = Annotated[
    Path | None,
    typer.Option(
        help="The folder of the stack's state and data; by default stack in ISTHMUS_HOME.",
        show_default=False,
    ),
]
_STYLE = {"up": "green", "down": "red", "not started": "dim"}


@stack.command("up")
def up(
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Start only some of postgres, s3, mlflow, ray, prefect, and what they require.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PORT", help="The port of a server; by default a free one. Repeatable."
        ),
    ] = None,
    folder: Folder = None,
) -> None:
    """Start the servers that do not run, on 127.0.0.1, and wait until all of them answer.

    Ports, passwords and data are kept until down --wipe. The servers outlive this terminal.

    Example: isthmus stack up --only mlflow --port mlflow=5000
    """
    names = [name.strip() for name in only.split(",") if name.strip()] if only else []
    ports = dict(_port(text) for text in port or [])
    found = _stack(folder)
    with err.status("starting"):
        found.up(names, ports, _say)
    where = "" if folder is None else f" --folder {shlex.quote(str(folder))}"
    out.print(f'Next: eval "$(isthmus stack env{where})"', markup=False)


@stack.command("status")
def status(folder: Folder = None) -> None:
    """Show the state of each server; exit with 1 if one that was started is down.

    Example: isthmus stack status
    """
    seen = _stack(folder).status()
    table = Rows(("service", "state", "address", "pid", "since"), lead=2)
    for each in seen:
        table.add(
            each.service.name,
            each.state,
            each.address or "",
            str(each.pid or ""),
            f"{age(each.since)} ago" if each.since else "",
            state=_STYLE[each.state],
        )
    table.show()
    if any(each.state == "down" for each in seen):
        err.print("Start what is down with: isthmus stack up")
        raise typer.Exit(1)


@stack.command("logs")
def logs(
    service: Annotated[
        str, typer.Argument(help="The name of the server, which status shows.", show_default=False)
    ],
    lines: Annotated[
        int, typer.Option("-n", "--lines", help="The number of lines.", parser=whole_number)
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show new lines until Ctrl-C.")
    ] = False,
    folder: Folder = None,
) -> None:
    """Show the last lines of a server's log.

    Example: isthmus stack logs mlflow --follow
    """
    from isthmus.stack.log import read_log

    file = _stack(folder).log(service)
    if not file.exists():
        err.print(f"{service} has written nothing yet: {file}", markup=False)
    for line in read_log(file, lines, follow=follow):
        out.print(line, markup=False)


@stack.command("down")
def down(
    wipe: Annotated[
        bool, typer.Option("--wipe", help="Delete ports, passwords, logs and all data too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --wipe.")] = False,
    folder: Folder = None,
) -> None:
    """Stop the servers; their data are kept.

    Example: isthmus stack down
    """
    found = _stack(folder)
    if wipe and not yes and found.folder.exists():
        typer.confirm(f"Delete all runs, models and checkpoints in {found.folder}?", abort=True)
    with err.status("stopping"):
        found.down(wipe=wipe, report=_say)
    out.print(f"Deleted {found.folder}." if wipe else "Stopped.", markup=False)


@stack.command("env")
def env(folder: Folder = None) -> None:
    """Print the environment variables with the servers' addresses, for a shell to read.

    Example: isthmus stack env
    """
    for name, value in _stack(folder).environment().items():
        out.print(f"export {name}={shlex.quote(value)}", markup=False)


def _stack(folder: Path | None) -> "Stack":
    from isthmus.spec import Settings
    from isthmus.stack.local import Stack, stack_of

    return stack_of(Settings.from_environment()) if folder is None else Stack(folder)


def _say(service: "Service", said: str) -> None:
    out.print(f"{service.name:<9} {said}", markup=False)


def _port(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise typer.BadParameter(f'"{printable(text)}" is not NAME=PORT, as in mlflow=5000')
    return name.strip(), int(number)
