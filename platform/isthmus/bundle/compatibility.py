"""The maps from a pair's latents to those of the champion at its registration.

They are stored in `compatibility.safetensors` in the encoder's artifact; `pair.json` holds their
errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import Field

from isthmus.data import sha256_of
from isthmus.errors import RegistryError
from isthmus.spec.model import SpecModel

if TYPE_CHECKING:
    from isthmus.core.alignment import LatentMap

MapKind = Literal["procrustes", "affine"]
MAP_KINDS: tuple[MapKind, ...] = get_args(MapKind)
MAPS_FILE = "compatibility.safetensors"


class Compatibility(SpecModel):
    """The section of `pair.json` about the maps to an older pair's latents."""

    champion: str
    """Name and version of the older pair, such as `digits/3`, which was champion at the
    registration."""
    pair_id: str
    """The older pair's id."""
    rows: int
    """The number of held-out rows that the errors were measured on; the maps were fitted to
    others."""
    errors: Annotated[Mapping[MapKind, float], Field(min_length=1)]
    """The fraction of the variance of the champion's latents that each map leaves unexplained."""
    scale: float
    """The factor by which the Procrustes map scales distances."""
    sha256: str
    """The sha256 of the file with the maps."""

    @property
    def best(self) -> MapKind:
        """The map with the lower error; Procrustes if they are equal, as it preserves distances."""
        return min(self.errors, key=lambda kind: (self.errors[kind], MAP_KINDS.index(kind)))

    @property
    def error(self) -> float:
        """The error of the best map."""
        return self.errors[self.best]


@dataclass(frozen=True, eq=False)
class Alignment:
    """The maps from a new pair's latents to the champion's, before they are stored.

    Attributes:
        champion: The champion's name and version.
        pair_id: The champion's id.
        maps: The maps from the new latent space to the champion's.
        errors: The errors, as in `Compatibility`.
        scale: The scale, as in `Compatibility`.
        rows: The number of rows that the errors were measured on.
    """

    champion: str
    pair_id: str
    maps: Mapping[MapKind, LatentMap]
    errors: Mapping[MapKind, float]
    scale: float
    rows: int


def write_maps(alignment: Alignment, folder: Path) -> Compatibility:
    """Writes the maps into a folder; returns the section about them for `pair.json`."""
    from safetensors.numpy import save_file

    tensors = {}
    for kind, found in alignment.maps.items():
        tensors[f"{kind}.matrix"] = found.matrix.copy(order="C")
        tensors[f"{kind}.offset"] = found.offset
    save_file(tensors, folder / MAPS_FILE)
    return Compatibility(
        champion=alignment.champion,
        pair_id=alignment.pair_id,
        rows=alignment.rows,
        errors=alignment.errors,
        scale=alignment.scale,
        sha256=sha256_of(folder / MAPS_FILE),
    )


def read_map(folder: Path, kind: MapKind, said: Compatibility) -> LatentMap:
    """Reads one of the maps in a folder.

    Raises:
        RegistryError: If the file is missing or damaged, or its hash differs from `pair.json`.
    """
    file = folder / MAPS_FILE
    if not file.is_file():
        raise RegistryError(f"{file} is missing; restore it, or train the pair again")
    found = sha256_of(file)
    if found != said.sha256:
        raise RegistryError(
            f"{file} is damaged: its sha256 is {found[:12]}..., and pair.json says "
            f"{said.sha256[:12]}...; restore it, or train the pair again"
        )
    # They load torch, which readers of `pair.json` do not need.
    from isthmus.bundle.tensors import read_tensors
    from isthmus.core.alignment import LatentMap

    tensors = read_tensors(file)
    try:
        matrix, offset = (tensors[f"{kind}.{part}"].numpy() for part in ("matrix", "offset"))
    except KeyError as error:
        raise RegistryError(
            f"{file} is damaged: it has no {error}; restore it, or train the pair again"
        ) from error
    if matrix.ndim != 2 or offset.shape != matrix.shape[1:]:
        raise RegistryError(
            f"{file} is damaged: a map of shape {matrix.shape} has an offset of {offset.shape}; "
            "restore it, or train the pair again"
        )
    return LatentMap(matrix, offset)
