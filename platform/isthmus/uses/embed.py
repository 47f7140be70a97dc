"""Embeds a file: encodes every row, and writes the latents in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from isthmus.data import Block
from isthmus.data.outputs.results import Columns
from isthmus.embedding.index import INDEX_ENDING, index_path
from isthmus.embedding.latents_file import LatentsAsked
from isthmus.embedding.output import LatentsOutput
from isthmus.embedding.plane import PICTURE_ENDING, picture_path
from isthmus.embedding.spool import LATENT
from isthmus.errors import UsageError
from isthmus.execution.blocks import OnRows
from isthmus.execution.use import RowsUse, UseResult, fields_of_result
from isthmus.registry import CompatiblePair, Device, Pair, load_compatible, translation_error
from isthmus.spec import Settings, SpecModel


@dataclass(frozen=True, kw_only=True)
class EmbedResult(UseResult):
    """The result of embedding.

    Attributes:
        latent_dim: Number of values in a latent.
        space: The name and version of the pair in whose latent space they are.
        space_id: The id of that pair.
        translation_error: The share of the variance of that pair's latents that the maps to its
            space leave unexplained on held-out rows; `None` if it is the pair's own space, and NaN
            if it is not known.
        index: The index of nearest neighbours, if one was asked for.
        map: The picture of the map, if one was asked for.
    """

    latent_dim: int
    space: str
    space_id: str
    translation_error: float | None = None
    index: Path | str | None = None
    map: Path | str | None = None

    def moved_to(self, output: str | Path) -> EmbedResult:
        """Returns the result with the places that the table and the rest were brought to."""
        index: Path | str = f"{output}{INDEX_ENDING}"
        picture: Path | str = f"{output}{PICTURE_ENDING}"
        if isinstance(output, Path):
            index, picture = Path(index), Path(picture)
        return replace(self, output=output, index=self.index and index, map=self.map and picture)


class Embed(RowsUse):
    """Encodes every row of an input to its latent.

    The output has one line per row, in order: `row` (from 0), the row's name if it has one, and its
    latent: a list of one size in the column `latent` of a parquet or feather, columns `z0`, `z1`
    and so on in a csv, the array `latent` in an npz.
    """

    SUMMARY = "Encode every row of a file, and write the latents to a csv, parquet or npz."
    EXAMPLE = "isthmus embed --model digits@champion new.npz latents.parquet"
    DOING, DONE = "embedding", "embedded"
    OUTPUT = LatentsOutput()

    class Config(SpecModel):
        """The options of embedding."""

        compatible_with: str | None = None
        """An older version of the pair, NAME/3, in whose latent space the latents are to be."""
        layout: Literal["auto", "list", "columns"] = "auto"
        """The layout of latents in a table: one column of lists, or columns z0, z1 and so on; by
        default a list where the format has lists."""
        map: Literal["pca", "umap"] | None = None
        """Map the latents to two dimensions, pca or umap: to the columns map_x and map_y, and to
        the picture OUTPUT.map.png."""
        index: bool = False
        """Write an index of nearest neighbours too, OUTPUT.index, for isthmus search."""
        metric: Literal["l2", "cosine"] = "l2"
        """The distance that the index measures: l2 (Euclidean) or cosine."""

    config: Config

    def __init__(self, **options: object) -> None:
        """Creates the job; see `Config` for the options.

        Raises:
            UsageError: Naming what is wrong.
        """
        super().__init__(**options)
        asked = self.config
        self.OUTPUT = LatentsOutput(
            LatentsAsked(asked.layout, asked.map, index=asked.index, metric=asked.metric)
        )
        self._translation_error: float | None = None

    def adapted(self, pair: Pair, settings: Settings) -> Pair:
        """Returns the pair, or one that encodes to the space of an older pair if asked for one."""
        target = self.config.compatible_with
        if target is None:
            return pair
        device: Device = "gpu" if pair.device.type == "cuda" else "cpu"
        found = load_compatible(pair.reference, target, settings, device)
        if isinstance(found, CompatiblePair):
            self._translation_error = translation_error(found, settings)
        return found

    def check(self, pair: Pair) -> None:
        """Refuses pairs for images of any size, whose latents would have as many sizes."""
        super().check(pair)
        if pair.manifest.data.patch is not None:
            raise UsageError(
                f"{pair.reference} takes images of any size, so its latents have no size of their "
                "own; choose a pair that was trained with data.image_size"
            )

    def check_parts(self) -> None:
        """Refuses what is made of the latents of all rows."""
        for name in ("map", "index"):
            if getattr(self.config, name):
                raise UsageError(
                    f"--{name} is made of all rows together, and --address works on each file by "
                    "itself; leave one of them out"
                )

    def noted(self, pair: Pair) -> dict[str, object]:
        """Returns the pair in whose latent space the latents are, and how well they fit there."""
        space, space_id = _space_of(pair)
        said: dict[str, object] = {
            "space": space,
            "space_id": space_id,
            "latent_dim": pair.latent_dim,
        }
        if self._translation_error is not None:
            said["translation_error"] = self._translation_error
        return said

    def apply(self, pair: Pair, block: Block, on_rows: OnRows | None) -> Columns:
        """Returns the latents of a block, shape (N, latent_dim)."""
        return {LATENT: pair.encode(block.values, on_rows=on_rows, as_read=True).values}

    def result(
        self, pair: Pair, output: Path | str, counts: Mapping[str, int], *, parts: int = 0
    ) -> EmbedResult:
        """Returns the result, with what the latents are."""
        space, space_id = _space_of(pair)
        return EmbedResult(
            **fields_of_result(pair, output, counts, parts),
            latent_dim=pair.latent_dim,
            space=space,
            space_id=space_id,
            translation_error=self._translation_error,
            index=index_path(Path(output)) if self.config.index else None,
            map=picture_path(Path(output)) if self.config.map else None,
        )

    def headline(self, result: UseResult) -> str:
        """Returns how many rows were embedded, and in how many numbers each."""
        found = cast("EmbedResult", result)
        return f"{found.rows:,} rows embedded in {found.latent_dim} numbers"

    def details(self, result: UseResult) -> list[str]:
        """Returns in which space the latents are, and what was written beside them."""
        found = cast("EmbedResult", result)
        lines = []
        if found.translation_error is not None:
            lost = f"{100 * found.translation_error:.2g} % of the variance of its latents is lost"
            is_unknown = math.isnan(found.translation_error)
            measured = "how well is not known" if is_unknown else f"{lost} on held-out rows"
            lines.append(f"in the space of {found.space} (pair {found.space_id}): {measured}")
        if found.index is not None:
            lines.append(f"nearest neighbours: isthmus search --index {found.index} --row FILE")
        if found.map is not None:
            lines.append(f"map: {found.map}")
        return lines


def _space_of(pair: Pair) -> tuple[str, str]:
    """Returns the name and the id of the pair in whose latent space a pair encodes."""
    if isinstance(pair, CompatiblePair):
        return pair.translation.target, pair.translation.target_id
    return pair.reference, pair.manifest.pair_id
