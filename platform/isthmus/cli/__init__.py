"""The command line, which parses, calls and prints. Importing it imports no torch, Ray or MLflow.

The modules of its commands do without `from __future__ import annotations`. It turns annotations
into strings, which typer evaluates twice before it prints `--help`, and that took a tenth longer.
Names that are imported only for types are in quotes in these modules.
"""

import errno
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from isthmus.cli import (
    choices,
    cluster,
    compression,
    gate,
    init,
    lineage,
    machine,
    models,
    report,
    schedule,
    search,
    serve,
    stack,
    train,
    tune,
    upkeep,
    use,
    watch,
)
from isthmus.cli.interrupts import listening
from isthmus.cli.panels import Panels
from isthmus.declarations import plugin_names
from isthmus.errors import IsthmusError
from isthmus.quiet import quieten

app = typer.Typer(
    name="isthmus",
    cls=Panels,
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train autoencoders, keep every encoder and decoder as a pair, put the pairs to work.",
    epilog="Exit codes: 0 done; 1 it failed, or the gate refuses; 2 the command, a job file or a "
    "name is wrong; 3 the data are wrong; 130 stopped by Ctrl-C.",
)
_commands: tuple[tuple[Callable[..., None], str], ...] = (
    (init.init, "Train"),
    (train.train, "Train"),
    (tune.tune, "Train"),
    (train.validate, "Train"),
    (train.schema, "Train"),
    (choices.variants, "Train"),
    (choices.nets, "Train"),
    (choices.scores, "Train"),
    (choices.corruptions, "Train"),
    (cluster.submit, "Cluster"),
    (cluster.jobs, "Cluster"),
    (cluster.logs, "Cluster"),
    (cluster.cancel, "Cluster"),
    (models.models, "Models"),
    (models.promote, "Models"),
    (models.rollback, "Models"),
    (models.history, "Models"),
    (gate.gate, "Models"),
    (watch.watch, "Models"),
    (lineage.lineage, "Models"),
    (upkeep.delete, "Models"),
    (upkeep.prune, "Models"),
    *((use.command_of(name), "Use") for name in plugin_names("uses")),
    (compression.decompress, "Use"),
    (compression.inspect, "Use"),
    (search.search, "Use"),
    (report.report, "Use"),
    (serve.serve, "Use"),
    (machine.ui, "This machine"),
    (machine.doctor, "This machine"),
)
for _command, _panel in _commands:
    app.command(rich_help_panel=_panel)(_command)
app.add_typer(schedule.schedule, name="schedule", rich_help_panel="Train")
app.add_typer(cluster.head, name="head", rich_help_panel="Cluster")
app.add_typer(stack.stack, name="stack", rich_help_panel="This machine")

_debug = False
# The errors of a disk that is full, read-only, or not this user's, wherever they are raised.
_OF_A_DISK = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM)


def _show_version(wanted: bool) -> None:
    if wanted:
        import isthmus
        from isthmus.cli.terminal import out

        out.print(f"isthmus {isthmus.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the log lines of Isthmus.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the code that is stored with pairs to load them.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Applies the options that all commands have."""
    global _debug
    _debug = debug
    if trust:
        os.environ["ISTHMUS_TRUST_PLUGINS"] = "1"  # also for the processes of Ray
    from isthmus.cli import logs
    from isthmus.spec import Settings

    logs.configure(Settings.from_environment().log_file, verbose)


def main() -> None:
    """Runs a command; a failure is printed as one line and sets the exit code."""
    quieten()
    with listening() as interrupts:
        try:
            app()
        except IsthmusError as error:
            _fail(str(error), error.exit_code, error)
        except KeyboardInterrupt as error:
            _fail("Stopped.", train.INTERRUPTED, error)
        except SystemExit as end:
            # typer turns an interrupt that no command has handled into an exit without a message.
            interrupt = getattr(end.__context__, "__cause__", None)
            if isinstance(interrupt, KeyboardInterrupt):
                _fail("Stopped.", train.INTERRUPTED, interrupt)
            raise
        except BrokenPipeError:
            sys.exit(1)  # the reader has closed the pipe, as in `isthmus models | head -1`
        except Exception as error:  # noqa: BLE001 (it is logged)
            _fail_unexpectedly(error, interrupts.was_asked)


def _fail_unexpectedly(error: Exception, was_interrupted: bool) -> None:
    import logging

    logging.getLogger(__name__).error("unexpected", exc_info=error)
    if was_interrupted:
        # A library that is interrupted may raise an error of its own.
        _fail("Stopped.", train.INTERRUPTED, error)
    from isthmus.spec import Settings

    if isinstance(error, OSError) and error.errno in _OF_A_DISK:
        _fail(
            f"{error.filename or 'a disk'} cannot be used ({error.strerror}); free its disk, "
            "allow it with chmod, or set ISTHMUS_HOME to another folder",
            1,
            error,
        )
    _fail(
        f"unexpected {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        f" (details: {Settings.from_environment().log_file})",
        1,
        error,
    )


def _fail(message: str, code: int, error: BaseException) -> None:
    from isthmus.cli.terminal import err

    if _debug:
        raise error
    err.print(message, style="red" if err.is_terminal else None, markup=False)
    sys.exit(code)
