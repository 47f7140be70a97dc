"""The commands `submit`, `jobs`, `logs`, `cancel` and `head`, for jobs on a Ray cluster."""

from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.panels import Panels
from isthmus.cli.tables import Rows
from isthmus.cli.terminal import age, err, out
from isthmus.cli.train import JobFile, Overrides

if TYPE_CHECKING:
    from isthmus.cluster.client import Cluster
    from isthmus.spec import Settings

Address = Annotated[
    str | None,
    typer.Option(
        help="The address of the cluster's Ray dashboard, http://HOST:8265; by default "
        "RAY_API_SERVER_ADDRESS, else this machine's own head.",
        show_default=False,
    ),
]
JobId = Annotated[
    str, typer.Argument(help="The job's id, which isthmus jobs shows.", show_default=False)
]

head = typer.Typer(
    cls=Panels, no_args_is_help=True, help="Start and stop a Ray head on this machine."
)


def submit(
    job: JobFile,
    overrides: Overrides = None,
    address: Address = None,
    local: Annotated[
        bool,
        typer.Option("--local", help="Run on this machine's own head, which is started if needed."),
    ] = False,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VALUE]", help="Set an environment variable of the job. Repeatable."
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show the job's log until it ends.")
    ] = False,
) -> None:
    """Send a training job to a Ray cluster, where it runs on when this terminal is closed.

    The code travels as a wheel, and with the job local data of up to 50 MiB. Local data are read
    first, so that what is wrong with them is said here.

    Example: isthmus submit pipelines/jobs/digits.yaml --address http://127.0.0.1:8265
    """
    if local and address is not None:
        raise typer.BadParameter("--local and --address do not go together")
    from isthmus.cluster.submit import checked_job
    from isthmus.cluster.submit import submit as send

    settings = _settings()
    with err.status("reading the data"):
        spec = checked_job(
            job, overrides or [], env or []
        )  # faults are found before a head is started
    if local:
        from isthmus.cluster.head import start_head

        with err.status("starting a Ray head on this machine"):
            start_head(settings)
    cluster = _cluster(address, settings)
    with err.status(f"sending to {cluster.address}"):
        sent = send(spec, cluster, settings, env or [])
    out.print(f"[bold]{sent.job_id}[/bold] is submitted to {cluster.address}")
    where = "" if cluster.is_local else f" --address {cluster.address}"
    if follow:
        logs(sent.job_id, address, follow=True)
    else:
        out.print(f"Next: isthmus logs {sent.job_id} --follow{where}")


def jobs(address: Address = None, as_json: AsJson = False) -> None:
    """List the jobs on a cluster, newest first.

    Example: isthmus jobs --address http://127.0.0.1:8265
    """
    from isthmus.cluster.running import list_jobs

    found = list_jobs(_cluster(address, _settings()))
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("No jobs yet. Send one: isthmus submit JOB.yaml")
        return
    table = Rows(("job", "status", "started", "ran for"), lead=2)
    for job in found:
        started = f"{age(job.started)} ago" if job.started else "waits"
        table.add(job.job_id, job.status.lower(), started, f"{job.seconds:,.0f} s")
    table.show()


def logs(
    job_id: JobId,
    address: Address = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show the log until the job ends.")
    ] = False,
) -> None:
    """Show the log of a job; with --follow, exit with 1 if the job fails.

    Example: isthmus logs digits-1a2b3c --follow
    """
    from isthmus.cluster.running import job_logs, job_status

    cluster = _cluster(address, _settings())
    for piece in job_logs(cluster, job_id, follow=follow):
        out.print(piece, end="", markup=False)
    if follow:
        job = job_status(cluster, job_id)
        out.print(f"{job_id}: {job.status.lower()}")
        if job.status != "SUCCEEDED":
            raise typer.Exit(1)


def cancel(job_id: JobId, address: Address = None) -> None:
    """Stop a job as Ctrl-C would; its run can be resumed.

    Example: isthmus cancel digits-1a2b3c
    """
    from isthmus.cluster.running import cancel as end

    cluster = _cluster(address, _settings())
    with err.status("waiting until training has saved a checkpoint"):
        job = end(cluster, job_id)
    out.print(f"{job_id}: {job.status.lower()}")


@head.command("start")
def start() -> None:
    """Start a Ray head with a dashboard on this machine, or print the address of the running one.

    Example: isthmus head start
    """
    from isthmus.cluster.head import start_head

    with err.status("starting a Ray head on this machine"):
        running = start_head(_settings())
    out.print(f"Ray head: [bold]{running.address}[/bold] (process {running.pid})")
    out.print("Stop it with: isthmus head stop")


@head.command("stop")
def stop() -> None:
    """Stop this machine's Ray head and the jobs on it.

    Example: isthmus head stop
    """
    from isthmus.cluster.head import stop_head

    out.print("Stopped." if stop_head(_settings()) else "No head runs.")


def _settings() -> "Settings":
    from isthmus.spec import Settings

    return Settings.from_environment()


def _cluster(address: str | None, settings: "Settings") -> "Cluster":
    from isthmus.cluster.client import find_cluster

    return find_cluster(address, settings)
