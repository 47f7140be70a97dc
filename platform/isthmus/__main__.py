"""The command `isthmus`, also `python -m isthmus`; it handles Ctrl-C and SIGTERM throughout."""

# Only modules that Python has loaded already: Ctrl-C during an import here would be a traceback.
import atexit
import os
import sys

_STOPPED = 130
_is_stopped = False


def main() -> None:
    """Runs a command; Ctrl-C and SIGTERM end it at any time, with one line and exit code 130."""
    global _is_stopped
    atexit.register(_end)  # It is registered first, and so is called last.
    try:
        import signal

        # Until `cli.interrupts` handles it, which takes a few imports.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        from isthmus import own_process

        own_process.begin()
        from isthmus.cli import main as run

        run()
    except KeyboardInterrupt:
        _is_stopped = True
        sys.stderr.write("Stopped.\n")
        sys.exit(_STOPPED)
    except SystemExit as end:
        _is_stopped = end.code == _STOPPED
        raise


def _end() -> None:
    """Ends the process with the exit code of an interrupt.

    Python would instead end it by the signal if the interrupt came in code that a C library had
    called, and would abort it if one of its threads were in such a library.
    """
    if _is_stopped:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_STOPPED)


if __name__ == "__main__":
    main()
