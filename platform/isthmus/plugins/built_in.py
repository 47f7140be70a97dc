"""Finds the plugins of a package: each file holds one plugin, whose name is the file's stem."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

# "Source: Kingma & Welling 2013, ... arXiv:1312.6114 ...": the authors and year, and the number.
_WHO = re.compile(r"Source:\s+(.+?\s\d{4})", re.DOTALL)
_ARXIV = re.compile(r"arXiv:\d{4}\.\d{4,5}")


def names_in(package_file: str) -> tuple[str, ...]:
    """Returns the stems of the public modules beside a package's `__init__.py`, sorted.

    It imports none of them.
    """
    folder = str(Path(package_file).parent)
    found = (module.name for module in pkgutil.iter_modules([folder]))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def the_class_in(module: ModuleType, base: type) -> type:
    """Returns the one subclass of `base` that the module itself defines."""
    defined = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
    ]
    if len(defined) != 1:
        raise ImportError(
            f"{module.__name__} defines {len(defined)} subclasses of {base.__name__}; one is wanted"
        )
    return defined[0]


def load(package: str, name: str, base: type) -> type:
    """Imports `package.name` and returns its plugin class."""
    return the_class_in(importlib.import_module(f"{package}.{name}"), base)


def paper(about: str) -> str:
    """Returns authors, year and, if there is one, arXiv number of a variant's or net's paper.

    Args:
        about: The plugin's documentation.

    Returns:
        The text after `Source:`, `Kingma & Welling 2013, arXiv:1312.6114`; empty if there is none.
    """
    who = _WHO.search(about)
    if who is None:
        return ""
    number = _ARXIV.search(about, who.start())
    named = " ".join(who.group(1).split())
    return f"{named}, {number.group()}" if number else named
