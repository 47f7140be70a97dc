"""The classes of all errors that Isthmus raises on purpose, in one tree.

A message says what is wrong, which value, and what to do, in one line. The command line prints that
line and exits with `exit_code`: 2 if the command, a job file or a name is wrong, 3 if the data are,
1 for the rest. It prints a traceback only with `--debug`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

_ALIKE, _MUCH_ALIKE = 0.5, 0.65
"""The likeness by difflib from which a name may have been meant, if it begins with the same letter
(`weight` for `wait`), and if not (`conv` for `konv`, but not `country` for `amount`)."""
# Signs that people write although they have no shape of their own: they join letters, or do not.
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def printable(text: str, *, keep: str = "") -> str:
    """Returns a text as one printable line: characters that a terminal obeys are escaped.

    Messages quote names and values from files that others made, and such a value must neither
    break a line in two nor move the cursor.

    Args:
        text: The text.
        keep: The characters that stay as they are, as in "\\n" for a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(each if _is_shown(each, keep) else _escaped(each) for each in text)


def in_one_line(error: BaseException) -> str:
    """Returns the type of an error that is none of ours, and the first line of its text."""
    said = str(error).strip()
    return f"{type(error).__name__}: {first_line(said) if said else ''}"


def first_line(said: BaseException | str, limit: int = 300) -> str:
    """Returns the first line of a text or of an error's, shortened to the limit.

    An error without a text is told by its type.
    """
    text = str(said).strip()
    if not text:
        return type(said).__name__ if isinstance(said, BaseException) else "no reason given"
    line = text.splitlines()[0].strip()
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _is_shown(character: str, keep: str) -> bool:
    is_space = unicodedata.category(character) == "Zs"
    return character.isprintable() or is_space or character in keep or character in _JOINERS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class IsthmusError(Exception):
    """The base class of Isthmus's errors, which have a one-line message."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(IsthmusError):
    """The caller's input is wrong; nothing was started and nothing was left behind."""

    exit_code = 2


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a job file.

    Attributes:
        where: The dotted name of the field, `training.epochs`; empty for the file as a whole.
        message: The fault, with the value, and what to do.
        line: The line in the file, counted from 1; `None` if the value came from elsewhere.
    """

    where: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        return f"{place}{self.where}: {self.message}" if self.where else f"{place}{self.message}"


class SpecError(UsageError):
    """A job file cannot be run; the error holds every fault found, not only the first."""

    def __init__(self, faults: Sequence[Fault], source: str = "") -> None:
        self.faults = tuple(faults)
        self.source = source
        super().__init__(*self.faults)

    def __str__(self) -> str:
        prefix = f"{self.source}: " if self.source else ""
        return "\n".join(printable(f"{prefix}{fault}") for fault in self.faults)

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Fault, ...], str]]:
        # Python unpickles exceptions from `args`, which are not our parameters, and Ray pickles
        # errors.
        return (type(self), (self.faults, self.source))


class MissingExtra(UsageError):
    """A library is not installed that only some of Isthmus needs; the message names its extra."""


class DataError(UsageError):
    """The data cannot be read, or cannot be trained on or scored as it is."""

    exit_code = 3


class ModelNotFound(UsageError):
    """There is no registered model, version or alias of that name."""


class TrainingError(IsthmusError):
    """Training failed after it had started."""


class RegistryError(IsthmusError):
    """A registered pair is incomplete, mixed or damaged, or the registry cannot be reached."""


class CodeUnavailable(RegistryError):
    """A whole pair needs code that is not installed here, is not allowed to run, or fails."""


class PromotionRefused(RegistryError):
    """A version may not be given the requested alias."""


class Overtaken(RegistryError):
    """An alias was moved while it was being decided where to move it."""


class ClusterError(IsthmusError):
    """The Ray cluster cannot be reached, or refused the job."""


def nearest(value: str, valid: Sequence[str], called: str = "Valid") -> str:
    """Returns the end of a message about an unknown name: the nearest valid one, and all of them.

    Args:
        value: The unknown name.
        valid: The names that there are.
        called: The words for these, such as `The file has`.

    Returns:
        For example `did you mean "vae"? Valid: denoising, plain, vae`.
    """
    close = get_close_matches(value, valid, n=1, cutoff=_ALIKE)
    if close and close[0][:1].lower() != value[:1].lower():
        close = get_close_matches(value, valid, n=1, cutoff=_MUCH_ALIKE)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return f"{hint}{called}: {', '.join(sorted(valid))}"
