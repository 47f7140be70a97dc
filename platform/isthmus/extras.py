"""The extras of the package: libraries that not everybody needs, and the line that asks for one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from isthmus.errors import MissingExtra

_NAMES = {
    "map": "umap-learn",
    "report": "Jinja2",
    "schedule": "Prefect",
    "serve": "Ray Serve",
    "tune": "Optuna",
}
"""The usual name of an extra's library, where it differs from the module's name."""


@contextmanager
def importing(extra: str, needed_by: str) -> Iterator[None]:
    """Names the extra to install if an import in the block fails for the lack of a library.

    Args:
        extra: The extra that brings the library, as pyproject.toml names it.
        needed_by: The action that needs it, in the user's words: "isthmus tune".

    Raises:
        MissingExtra: If the library, or one that it needs itself, is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise missing_extra(extra, needed_by, missing) from error


def check_installed(module: str, extra: str, needed_by: str) -> None:
    """Refuses work for which a library is missing, without importing it.

    Args:
        module: The module that the work imports.
        extra: The extra that brings it.
        needed_by: The action that needs it, in the user's words.

    Raises:
        MissingExtra: If it is not installed.
    """
    if not _is_installed(module):
        raise missing_extra(extra, needed_by, module)


def missing_extra(extra: str, needed_by: str, library: str) -> MissingExtra:
    """Returns the error that says what needs which library, and how to install it.

    Args:
        extra: The extra that brings the library.
        needed_by: The action that needs it.
        library: The module that is missing.
    """
    name = _NAMES.get(extra, library)
    return MissingExtra(f"{needed_by} needs {name}: pip install 'isthmus[{extra}]'")


def _is_installed(module: str) -> bool:
    if sys.modules.get(module) is not None:
        return True
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
