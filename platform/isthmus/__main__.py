"""The command `isthmus`, and `python -m isthmus`: answers Ctrl-C from the first import on."""

# What is imported here must be there already: an interrupt in it would be a traceback.
import atexit
import os
import sys

_STOPPED = 130
_is_stopped = False


def main() -> None:
    """Runs a command; an interrupt ends it with one line and exit code 130, whenever it comes."""
    global _is_stopped
    atexit.register(_end)  # It is registered first, and so is called last.
    try:
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

    Python would end it by the signal instead, if the interrupt came in code that a library written
    in C had called; and it would abort it, if a thread of it were in such a library.
    """
    if _is_stopped:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_STOPPED)


if __name__ == "__main__":
    main()
