"""An environment with the wheel, what the wheel requires, and nothing else, made without a network.

The libraries are links to those of the environment that the tests run in, which has all of them and
more. What a library of another extra would bring is not there to be found.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(requirements: Iterable[str]) -> set[str]:
    """The names of all distributions that requirements need, and those that these need in turn."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            key = (canonicalize_name(wanted.name), extra)
            if key not in found:
                found.add(key)
                waiting += _required_by(wanted.name, extra)
    return {name for name, _ in found}


def _required_by(name: str, extra: str) -> list[Requirement]:
    """What a distribution requires for one of its extras; for "" what it requires always."""
    needed = [Requirement(each) for each in metadata.requires(name) or ()]
    return [
        each
        for each in needed
        if each.marker is None
        or (each.marker.evaluate({"extra": extra}) and (not extra or "extra" in str(each.marker)))
    ]


@dataclass(frozen=True)
class Environment:
    """An environment of its own, with the wheel installed in it."""

    folder: Path

    @property
    def python(self) -> Path:
        """The path of the environment's interpreter."""
        return self.folder / "bin" / "python"


def core_environment(folder: Path, wheel: Path) -> Environment:
    """Makes an environment with a wheel and what it requires, and none of its extras.

    pip installs the wheel and refuses it if a requirement is missing or of another version.
    """
    made = Environment(folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (wheel_info,) = metadata.distributions(path=[str(wheel)])
    always = [each for each in wheel_info.requires or () if "extra ==" not in each]
    ours = Path(sysconfig.get_path("purelib"))
    for name in closure(always):
        for top in {file.parts[0] for file in metadata.files(name) or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(ours / top)
    pip = [sys.executable, "-m", "pip", "--python", str(made.python), "install"]
    subprocess.run([*pip, "--quiet", "--no-index", str(wheel)], check=True)
    return made
