"""Records the pair that made a file of results: beside every file, and inside if the format can."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from isthmus.data.storage.digest import sha256_of

PROVENANCE_KEY = "pair"
"""Name of the array of an npz, and of the text of a png, that holds the provenance."""
PARQUET_KEY = b"isthmus.pair"
"""The key of the provenance in a parquet's metadata."""
FOLDER_PROVENANCE = "pair.json"
"""The name of the file with the provenance in a folder of results."""


@dataclass(frozen=True)
class Provenance:
    """The origin of a file of results: the pair, the time and the job.

    Attributes:
        pair_id: The pair's id.
        model: The name and version, `digits/3`.
        created: The time at which the results were made, ISO 8601.
        extra: Anything else worth saying: the job, the input, the threshold.
    """

    pair_id: str
    model: str
    created: str
    extra: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Provenance | None:
        """Reads what `to_json` wrote; `None` if the text is anything else."""
        try:
            content = json.loads(text)
            return cls(
                pair_id=str(content["pair_id"]),
                model=str(content["model"]),
                created=str(content["created"]),
                extra=dict(content.get("extra", {})),
            )
        # JSON may be nested more deeply than Python's stack.
        except (ValueError, RecursionError, TypeError, KeyError):
            return None

    def to_json(self) -> str:
        """Returns the provenance as a JSON object on one line."""
        return json.dumps(asdict(self), default=str)


def sidecar_path(output: Path) -> Path:
    """Returns the path of an output file's provenance: `<output>.pair.json` beside it."""
    return output.with_name(output.name + ".pair.json")


def read_provenance(output: Path) -> Provenance | None:
    """Reads the provenance of a file or folder of results.

    The provenance inside a file comes first, because it moves with the file; then the one beside it
    is tried.

    Returns:
        The provenance; `None` if there is none, or it cannot be read.
    """
    for read in (_inside, _beside):
        try:
            text = read(output)
        except (OSError, ValueError, KeyError):
            continue
        found = Provenance.from_json(text) if text else None
        if found is not None:
            return found
    return None


def content_sha256(output: Path) -> str:
    """The sha256 of a file, or of the names and contents of a folder's files.

    A folder's own provenance does not count, as a file's sidecar does not.

    Raises:
        OSError: If it cannot be read.
    """
    if output.is_file():
        return sha256_of(output)
    digest = hashlib.sha256()
    for file in sorted(output.rglob("*")):
        if file.is_file() and file.name != FOLDER_PROVENANCE:
            name = file.relative_to(output).as_posix()
            digest.update(f"{name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _inside(output: Path) -> str | None:
    match output.suffix.lower():
        case ".npz":
            import numpy as np

            with np.load(output, allow_pickle=False) as arrays:
                return str(arrays[PROVENANCE_KEY]) if PROVENANCE_KEY in arrays else None
        case ".parquet":
            import pyarrow.parquet as pq

            return ((pq.read_schema(output).metadata or {}).get(PARQUET_KEY) or b"").decode()
        case ".png":
            from PIL import Image

            with Image.open(output) as image:
                return str(image.info.get(PROVENANCE_KEY) or "")
    return None


def _beside(output: Path) -> str:
    note = output / FOLDER_PROVENANCE if output.is_dir() else sidecar_path(output)
    return note.read_text(encoding="utf-8")
