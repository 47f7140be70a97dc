"""The commands `schedule serve`, `run` and `list`, for retraining on a cron or now."""

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli import completion
from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.panels import Panels
from isthmus.cli.tables import Rows
from isthmus.cli.terminal import err, out

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
    from isthmus.allocation import keep_freed_memory
    from isthmus.spec import Settings
    from isthmus.stack.scheduler import prefect_api
    from isthmus_pipelines.schedules import DEFAULT_FILE, serve_schedules

    keep_freed_memory()
    path = file or DEFAULT_FILE
    settings = Settings.from_environment()
    _show(path)
    err.print("starting the scheduler")
    with prefect_api(settings) as url:
        out.print(f"Prefect page: [bold]{url.removesuffix('/api')}[/bold]  (Ctrl-C stops)")
        serve_schedules(path, settings)
    out.print("Stopped.")


@schedule.command("run")
def run(
    name: Annotated[
        str,
        typer.Argument(
            help="The name of the schedule.",
            show_default=False,
            autocompletion=completion.schedules,
        ),
    ],
    file: File = None,
    as_json: AsJson = False,
) -> None:
    """Run one schedule now, once.

    Example: isthmus schedule run digits-nightly
    """
    from isthmus.cli.progress import TrainingProgress
    from isthmus.spec import Settings
    from isthmus.stack.scheduler import prefect_api
    from isthmus_pipelines.schedules import DEFAULT_FILE, find_schedule

    entry = find_schedule(name, file or DEFAULT_FILE)
    with prefect_api(Settings.from_environment()):
        from isthmus_pipelines.retrain import report_to, retrain

        with TrainingProgress() as progress:
            report_to(progress)
            result = retrain(str(entry.job), list(entry.schedule.set))
    if as_json:
        print_json(result)
        return
    said = "promoted" if result.is_promoted else "registered, not promoted"
    out.print(f"[bold]{result.name}/{result.version}[/bold] is {said} ({result.verdict})")
    out.paragraph(f"  {result.reason}")


@schedule.command("list")
def show(file: File = None) -> None:
    """List the schedules, and check their file and the jobs in it.

    Example: isthmus schedule list
    """
    from isthmus_pipelines.schedules import DEFAULT_FILE

    _show(file or DEFAULT_FILE)


def _show(path: Path) -> None:
    from isthmus_pipelines.schedules import read_schedules

    table = Rows(("schedule", "cron", "time zone", "job", "changes", "enabled"), lead=2)
    for entry in read_schedules(path):
        each = entry.schedule
        enabled = "yes" if each.enabled else "no"
        job, changes = str(entry.job), " ".join(each.set)
        table.add(each.name, each.cron, each.timezone, job, changes, enabled)
    table.show()
