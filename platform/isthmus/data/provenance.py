"""Which pair made a file of results: said beside every file, and inside where the format can."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

PROVENANCE_KEY = "pair"
"""Name of the array of an npz, and of the text of a png, that holds the provenance."""


@dataclass(frozen=True)
class Provenance:
    """What a file of results came from.

    Attributes:
        pair_id: The pair's id.
        model: Its name and version, `digits/3`.
        created: When the results were made, ISO 8601.
        extra: Anything else worth saying: the job, the input, the threshold.
    """

    pair_id: str
    model: str
    created: str
    extra: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> str:
        """As a JSON object on one line."""
        return json.dumps(asdict(self), default=str)


def sidecar_path(output: Path) -> Path:
    """Where the provenance of an output file lies: `<output>.pair.json` beside it."""
    return output.with_name(output.name + ".pair.json")
