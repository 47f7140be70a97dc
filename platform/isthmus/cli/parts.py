"""What `isthmus detect --address` does: a cluster writes a folder of parts."""

from typing import TYPE_CHECKING, Any

from isthmus.cli.terminal import out

if TYPE_CHECKING:
    from isthmus.spec import Settings


def detect_parts(
    model: str,
    source: str,
    output: str,
    settings: "Settings",
    address: str,
    asked: dict[str, Any],
) -> None:
    """Has a cluster score the files of a folder, and prints what came of it."""
    from isthmus.cli.progress import parts_progress
    from isthmus.jobs.distributed_detect import detect_on_cluster as run

    with parts_progress("detecting") as on_parts:
        result = run(model, source, output, settings, address, on_parts, **asked)
    kept = f", {result.kept:,} of them kept from before" if result.kept else ""
    out.print(
        f"{result.anomalies:,} anomalies in {result.rows:,} rows ({result.rule}) by "
        f"{result.model} (pair {result.pair_id}): {result.output} ({result.parts:,} parts{kept})"
    )
    if result.rejected:
        out.print(
            f"  {result.rejected:,} rows cannot be read and are set aside: "
            f"{result.output.rstrip('/')}.rejected.csv"
        )


def refuse_of_files(options: dict[str, object]) -> None:
    """Refuses options that do not go with --address.

    Raises:
        UsageError: Naming the first that is given.
    """
    from isthmus.errors import UsageError

    for name, value in options.items():
        if value:
            raise UsageError(f"--{name} does not go with --address; leave one of them out")


def refuse_form(form: str | None) -> None:
    """Refuses the form of parts where there are none.

    Raises:
        UsageError: Naming what decides instead.
    """
    from isthmus.errors import UsageError

    if form is not None:
        raise UsageError("--form is that of parts, with --address; a file's form is its ending")
