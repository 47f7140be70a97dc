"""The commands `schedule serve`, `run` and `list`, for retraining on a cron or now."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.panels import Panels
from isthmus.cli.terminal import err, out

if TYPE_CHECKING:
    from rich.table import Table

schedule = typer.Typer(
    cls=Panels, no_args_is_help=True, help="Retrain on a cron, and promote better versions."
)

File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        help="The schedules file; by default pipelines/schedules.yaml in this folder.",
        show_default=False,
    ),
]


@schedule.command("serve")
def serve(file: File = None) -> None:
    """Run the schedules at their times until Ctrl-C, on the server that PREFECT_API_URL names or
    on an embedded one.

    Example: isthmus schedule serve --file pipelines/schedules.yaml
    """
    from isthmus.spec import Settings
    from isthmus.stack.scheduler import prefect_api
    from pipelines.schedules import DEFAULT_FILE, serve_schedules

    path = file or DEFAULT_FILE
    settings = Settings.from_environment()
    out.print(_table(path))
    err.print("starting the scheduler")
    with prefect_api(settings) as url:
        out.print(f"Prefect page: [bold]{url.removesuffix('/api')}[/bold]  (Ctrl-C stops)")
        serve_schedules(path, settings)
    out.print("Stopped.")


@schedule.command("run")
def run(
    name: Annotated[str, typer.Argument(help="The name of the schedule.", show_default=False)],
    file: File = None,
) -> None:
    """Run one schedule now, once.

    Example: isthmus schedule run digits-nightly
    """
    from isthmus.cli.progress import TrainingProgress
    from isthmus.spec import Settings
    from isthmus.stack.scheduler import prefect_api
    from pipelines.schedules import DEFAULT_FILE, find_schedule

    entry = find_schedule(name, file or DEFAULT_FILE)
    with prefect_api(Settings.from_environment()):
        from pipelines.retrain import report_to, retrain

        with TrainingProgress() as progress:
            report_to(progress)
            result = retrain(str(entry.job), list(entry.schedule.set))
    said = "promoted" if result.is_promoted else "registered, not promoted"
    out.print(f"[bold]{result.name}/{result.version}[/bold] is {said} ({result.verdict})")
    out.print(f"  {result.reason}")


@schedule.command("list")
def show(file: File = None) -> None:
    """List the schedules, and check their file and the jobs in it.

    Example: isthmus schedule list
    """
    from pipelines.schedules import DEFAULT_FILE

    out.print(_table(file or DEFAULT_FILE))


def _table(path: Path) -> "Table":
    from rich.table import Table

    from pipelines.schedules import read_schedules

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("schedule", "cron", "time zone", "job", "changes", "enabled"):
        table.add_column(column, no_wrap=True)
    for entry in read_schedules(path):
        each = entry.schedule
        changes = " ".join(each.set)
        table.add_row(
            each.name,
            each.cron,
            each.timezone,
            str(entry.job),
            changes,
            "yes" if each.enabled else "no",
        )
    return table
