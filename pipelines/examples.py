"""The example jobs that come with Isthmus."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from isthmus.spec.yaml_file import read_yaml

# In the repository the package is a link to the folder pipelines/, whose name is the one to show.
_FOLDER = Path(__file__).resolve().with_name("jobs")


@dataclass(frozen=True)
class ExampleJob:
    """An example job.

    Attributes:
        path: The job file, relative to the current folder if it lies in it.
        description: The purpose of the job.
    """

    path: Path
    description: str


def example_jobs() -> list[ExampleJob]:
    """Returns the example jobs, sorted by name."""
    return [
        ExampleJob(_from_here(path), str(read_yaml(path, "name and data")[0]["description"]))
        for path in sorted(_FOLDER.glob("*.yaml"))
    ]


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else Path(os.path.normpath(path))
