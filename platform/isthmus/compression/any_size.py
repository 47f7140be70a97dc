"""Codes images of any size: their blocks are one map, which is cut into regions coded apart.

The transforms see across the borders of regions, so that none shows in the decoded image; the
probabilities do not, so that damage to one region leaves all others as they are. Memory beside the
image and its map is bounded, because transforms take the image in tiles that overlap by as much
as the net sees.

Shapes: an image x_CHW has sides that are multiples of the net's step s after padding, and its map
y_KHW has sides H / s and W / s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import cast

import numpy as np
import torch

from isthmus import nets
from isthmus.compression.coder import numbers_of_tables
from isthmus.compression.symbols import CodedSymbols
from isthmus.core import CodedAutoencoder, IntTable
from isthmus.errors import DataError
from isthmus.nets import MapsNet
from isthmus.registry.batches import Floats
from isthmus.registry.tiles import Span, rounded_up, spans_of
from isthmus.types import Shape

REGION = 512
"""Pixels along each side of a region. It is a part of the format: other regions, another version
of it."""
# Pixels along each side of a tile, without its margins.
_TILE = 1024
_SIZES_KEPT = 8

CPU = torch.device("cpu")

OnRegions = Callable[[int, int], None]
OnDamage = Callable[[int, DataError], None]


class ImagesOfAnySize:
    """Codes and decodes images with a module whose latent is one map."""

    def __init__(
        self,
        module: CodedAutoencoder,
        tables: Sequence[IntTable],
        device: torch.device = CPU,
    ) -> None:
        """Takes the module, in evaluation mode on a device, and the pair's tables."""
        self._module, self._device = module, device
        self._coded = CodedSymbols(tables)
        made = nets.made_for(module.plan.net, module.plan.row_shape)
        self._step = made.multiple()
        self._margin = rounded_up(made.receptive_radius(), self._step)
        self._at = lru_cache(maxsize=_SIZES_KEPT)(self._made_at)

    def regions_of(self, shape: Shape) -> int:
        """Returns the number of regions of an image of that shape (C, H, W)."""
        return len(list(self._regions(self._padded(shape))))

    def encode(
        self, x_CHW: Floats, quality: float | None, on_regions: OnRegions | None = None
    ) -> Iterator[bytes]:
        """Codes an image in data units.

        Args:
            x_CHW: The image.
            quality: The quality, as the module takes it.
            on_regions: Called after each region with the number of those done and of all.

        Yields:
            The symbols of each region, row by row.
        """
        height, width = self._padded(x_CHW.shape)[1:]
        missing = [(0, 0), (0, height - x_CHW.shape[1]), (0, width - x_CHW.shape[2])]
        y_KHW = self._mapped(np.pad(x_CHW, missing, mode="reflect"))
        regions = list(self._regions((x_CHW.shape[0], height, width)))
        for number, (down, across) in enumerate(regions, start=1):
            part = np.ascontiguousarray(y_KHW[:, down, across])
            yield self._to_bytes(part, quality)
            if on_regions:
                on_regions(number, len(regions))

    def decode(
        self,
        coded: Sequence[bytes | None],
        shape: Shape,
        quality: float | None,
        on_damage: OnDamage | None = None,
    ) -> Floats:
        """Decodes an image to data units; a region that is `None` becomes grey.

        Args:
            coded: The symbols of each region.
            shape: The shape (C, H, W) of the image.
            quality: The quality with which it was coded.
            on_damage: Called with the number of a region whose symbols are damaged, and the error;
                such a region becomes grey too.

        Raises:
            DataError: If symbols are damaged, and nobody is to be told.
        """
        padded = self._padded(shape)
        channels, height, width = self._map_shape(padded)
        y_KHW = np.zeros((channels, height, width), dtype=np.float32)
        regions = list(self._regions(padded))
        for number, ((down, across), symbols) in enumerate(zip(regions, coded, strict=True)):
            if symbols is None:
                continue
            sides = (channels, down.stop - down.start, across.stop - across.start)
            try:
                y_KHW[:, down, across] = self._from_bytes(symbols, sides, quality)
            except DataError as error:
                if on_damage is None:
                    raise
                on_damage(number, error)
        return np.ascontiguousarray(self._imaged(y_KHW)[:, : shape[1], : shape[2]])

    # -- one region -----------------------------------------------------------------------------

    def _to_bytes(self, y_KHW: Floats, quality: float | None) -> bytes:
        module = self._of_map(y_KHW.shape)
        with torch.inference_mode(), module.one_coding():
            encoded = torch.from_numpy(y_KHW).flatten()[None].to(self._device)
            streams = [each.cpu().numpy() for each in module.symbols_of(encoded, quality)]
            return self._coded.to_bytes(streams, numbers_of_tables(module, 1, self._device))

    def _from_bytes(self, symbols: bytes, shape: Shape, quality: float | None) -> Floats:
        module = self._of_map(shape)
        with torch.inference_mode(), module.one_coding():
            found = self._coded.from_bytes(
                symbols, module.streams, numbers_of_tables(module, 1, self._device)
            )
            streams = [torch.from_numpy(each).to(self._device) for each in found]
            latent = module.latent_of(streams, quality).cpu()
        return cast("Floats", latent.reshape(shape).numpy())

    # -- the transforms -------------------------------------------------------------------------

    def _mapped(self, x_CHW: Floats) -> Floats:
        """Returns the map of an image, not yet rounded."""
        y_KHW = np.empty(self._map_shape(x_CHW.shape), dtype=np.float32)
        for down, across in self._tiles(x_CHW.shape):
            tile = torch.from_numpy(np.ascontiguousarray(x_CHW[None, :, down.tile, across.tile]))
            module = self._at(tuple(tile.shape[1:]))
            with torch.inference_mode():
                encoded = module.encoder(module.scaling(tile.to(self._device))).cpu()
            found = encoded.reshape(self._map_shape(tuple(tile.shape[1:]))).numpy()
            kept = [self._of_blocks(each) for each in (down.kept, across.kept)]
            inside = [self._of_blocks(each) for each in (down.inside, across.inside)]
            y_KHW[:, kept[0], kept[1]] = found[:, inside[0], inside[1]]
        return y_KHW

    def _imaged(self, y_KHW: Floats) -> Floats:
        """Returns the image of a map of rounded numbers, in data units."""
        sides = [side * self._step for side in y_KHW.shape[1:]]
        x_CHW = np.empty((self._module.plan.row_shape[0], *sides), dtype=np.float32)
        for down, across in self._tiles(x_CHW.shape):
            tile = y_KHW[:, self._of_blocks(down.tile), self._of_blocks(across.tile)]
            latent = torch.from_numpy(np.ascontiguousarray(tile)).flatten()[None]
            with torch.inference_mode():
                decoded = self._of_map(tile.shape).decode(latent.to(self._device))
            made = decoded[0].cpu().numpy()
            x_CHW[:, down.kept, across.kept] = made[:, down.inside, across.inside]
        return x_CHW

    def _tiles(self, shape: Shape) -> Iterator[tuple[Span, Span]]:
        side = _TILE + 2 * self._margin
        yield from product(
            *(spans_of(length, side, self._margin, self._step) for length in shape[1:])
        )

    def _regions(self, shape: Shape) -> Iterator[tuple[slice, slice]]:
        """Yields the places of the regions in the map of an image."""
        side = REGION // self._step
        ends = [length // self._step for length in shape[1:]]
        for top, left in product(*(range(0, end, side) for end in ends)):
            yield slice(top, min(top + side, ends[0])), slice(left, min(left + side, ends[1]))

    # -- shapes ---------------------------------------------------------------------------------

    def _padded(self, shape: Shape) -> Shape:
        return (shape[0], *(rounded_up(side, self._step) for side in shape[1:]))

    def _map_shape(self, shape: Shape) -> Shape:
        net = cast("MapsNet", nets.made_for(self._module.plan.net, shape))
        return net.map_shapes()[0]

    def _of_blocks(self, pixels: slice) -> slice:
        return slice(pixels.start // self._step, pixels.stop // self._step)

    def _of_map(self, shape: Shape) -> CodedAutoencoder:
        """Returns the module for images whose map has that shape."""
        channels = self._module.plan.row_shape[0]
        return self._at((channels, *(side * self._step for side in shape[1:])))

    def _made_at(self, shape: Shape) -> CodedAutoencoder:
        return self._module.at(shape)
