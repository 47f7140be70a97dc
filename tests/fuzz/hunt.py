"""Feeds damaged files to one target, in a process of its own whose memory is watched.

    python -m tests.fuzz.hunt TARGET SECONDS FOLDER
    python -m tests.fuzz.hunt BOMB 0 FOLDER

The file that is being fed lies in the folder as `input.*`, so that it is known what did harm even
if the process ends in the middle.
"""

from __future__ import annotations

import faulthandler
import logging
import resource
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from isthmus.data.columns.refusals import ColumnsRefused
from isthmus.errors import IsthmusError
from tests.fuzz.bombs import BOMBS
from tests.fuzz.mutations import damaged
from tests.fuzz.targets import TARGETS, Target

MOST_GROWTH_BYTES = 512 * 2**20
MOST_SECONDS = 20.0
_EXAMPLES_AT_ONCE = 500
# Only to protect the machine: a file that takes so much has failed long before.
_ADDRESS_SPACE_BYTES = 16 * 2**30


class TookTooMuch(BaseException):
    """A file took too long or too much memory.

    It is no `Exception`, since Hypothesis would look for a smaller such file: that takes as long
    each time, and the most memory of a process never falls.
    """


def peak_bytes() -> int:
    """Returns the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def feed(target: Target, path: Path, content: bytes, most_bytes: int) -> None:
    """Feeds a file to a target, which may refuse it in one clear line.

    Raises:
        AssertionError: If the line is not clear.
        TookTooMuch: If it took too long, or too much memory.
    """
    path.write_bytes(content)
    began = time.monotonic()
    try:
        target.feed(path)
    except IsthmusError as error:
        for line in lines_of(error):
            assert line.isprintable(), f"the message is no clear line: {line!r}"
    took_s = time.monotonic() - began
    if took_s > MOST_SECONDS or peak_bytes() > most_bytes:
        raise TookTooMuch(f"it took {took_s:.1f} s, and {peak_bytes() / 2**20:.0f} MiB")


def lines_of(error: IsthmusError) -> list[str]:
    """Returns the lines of an error: one, unless it tells of several fields or columns at once."""
    if isinstance(error, ColumnsRefused):
        return str(error).split("\n")
    return [str(fault) for fault in getattr(error, "faults", [error])]


def baseline(target: Target, folder: Path) -> int:
    """Feeds the valid files, which must be taken, and returns the memory that is the most."""
    for content in target.make():
        path = folder / f"input{target.ending}"
        path.write_bytes(content)
        target.feed(path)
    return peak_bytes() + MOST_GROWTH_BYTES


def hunt(target: Target, folder: Path, *, examples: int, derandomize: bool = False) -> None:
    """Feeds so many damaged files to a target.

    Raises:
        BaseException: The error of the target at the smallest file that does harm.
    """
    most_bytes = baseline(target, folder)

    @settings(
        max_examples=examples,
        derandomize=derandomize,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(target.make()))
    def take(content: bytes) -> None:
        faulthandler.dump_traceback_later(2 * MOST_SECONDS, exit=not derandomize)
        try:
            feed(target, folder / f"input{target.ending}", content, most_bytes)
        finally:
            faulthandler.cancel_dump_traceback_later()

    take()


def main() -> None:
    name, seconds, folder = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    if name in BOMBS:
        target_name, make = BOMBS[name]
        target = TARGETS[target_name]
        content = make()
        most_bytes = baseline(target, folder)
        faulthandler.dump_traceback_later(2 * MOST_SECONDS, exit=True)
        feed(target, folder / f"input{target.ending}", content, most_bytes)
        return
    began, fed = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        hunt(TARGETS[name], folder, examples=_EXAMPLES_AT_ONCE)
        fed += _EXAMPLES_AT_ONCE
    print(f"{fed} files", flush=True)


if __name__ == "__main__":
    main()
