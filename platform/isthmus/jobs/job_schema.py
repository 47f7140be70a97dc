"""The JSON schema of job files, with which editors complete and check them.

That of Isthmus' own variants, nets and scores is a file beside this one, since building it makes
the options of each of them. `make schema` writes the file, and a test holds it up to date.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from isthmus import plugins
from isthmus.errors import UsageError
from isthmus.jobs.catalog import catalog
from isthmus.spec import job_schema
from isthmus.spec.yaml_file import read_yaml

BUILT_IN = Path(__file__).with_name("job.schema.json")
"""The file with the schema of what is built in."""


def schema(path: str | Path | None = None) -> dict[str, Any]:
    """Returns the JSON schema of a job file with all variants and nets.

    Args:
        path: A job file, whose own plugins are added.

    Raises:
        SpecError: If it is no YAML.
        UsageError: If its plugins cannot be imported, or an installed package offers one whose name
            is taken.
    """
    known = catalog()
    content = {} if path is None else read_yaml(Path(path), "name and data")[0]
    if not content.get("plugins") and not any(plugins.offers(room) for room in plugins.ROOMS):
        found: dict[str, Any] = json.loads(BUILT_IN.read_text(encoding="utf-8"))
        return found
    with known.of_job(content, str(path or "")) as whole:
        return job_schema(whole)


def build() -> dict[str, Any]:
    """Builds the schema of all that is installed."""
    return job_schema(catalog())


def write() -> None:
    """Writes the file with the schema of what is built in.

    Raises:
        UsageError: If an installed package offers plugins, which the file would hold too.
    """
    offered = [each.origin for room in plugins.ROOMS for each in plugins.offers(room).values()]
    if offered:
        raise UsageError(f"{offered[0]} offers plugins; uninstall it to write {BUILT_IN.name}")
    text = json.dumps(build(), ensure_ascii=False, indent=1)
    BUILT_IN.write_text(f"{text}\n", encoding="utf-8")
