"""Reconstructs images of any size with a net for rows of any size: whole, or else in tiles.

A tile reaches beyond the part of the image that is kept of it, on each side by as much as the net
sees, and begins where the net's grid does; and the net is told of the whole image what a tile
cannot show. So tiles together are the whole, up to the last digits.

Shapes: x_NCHW is images of one size, x_CHW is one image.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import isqrt

import numpy as np
import torch
from torch import Tensor

from isthmus import nets
from isthmus.core import Autoencoder
from isthmus.registry.batches import Floats, OnRows, apply_in_batches
from isthmus.registry.tiles import rounded_up, spans_of
from isthmus.resources import free_memory_bytes
from isthmus.types import Shape

# A net may take this share of the memory that is free: convolutions need some that is not counted,
# and other processes compute as well.
_SHARE_OF_MEMORY = 0.5
_BYTES = 4
# An image that needs less is not worth asking how much memory is free: 64 MiB.
_FEW_NUMBERS = 2**24
# torch counts the numbers of a tensor in 32 bits in places, and the latent is the largest of all.
_LARGEST_LATENT = 2**30
# A tile is at least this many times as long as the margin at one of its ends, whatever memory there
# is. Two margins of three are computed and thrown away, along each axis.
_LEAST_MARGINS = 3
_SIZES_KEPT = 4


class AnySize:
    """An autoencoder for images of any size, with the modules for the sizes that were used last."""

    def __init__(self, module: Autoencoder) -> None:
        """Takes the autoencoder; the modules for other sizes share its weights."""
        self._module = module
        self._sized: dict[Shape, Autoencoder] = {}
        made = nets.made_for(module.plan.net, module.plan.row_shape)
        self._step = made.multiple()
        # In whole steps, so that each tile begins on the net's grid.
        self._margin = rounded_up(made.receptive_radius(), self._step)

    def reconstruct(
        self,
        x_NCHW: Floats,
        on_rows: OnRows | None,
        device: torch.device,
        most_numbers: int | None = None,
    ) -> Floats:
        """Reconstructs images of one size.

        Args:
            x_NCHW: The images, in the memory of the CPU.
            on_rows: Called after each batch, and after each tile, with the number of images done
                and of all images.
            device: The device that the module computes on.
            most_numbers: The most float32 that the net may hold at once; by default as many as half
                of the device's free memory holds.

        Returns:
            The reconstructions, in the shape of the images and in the memory of the CPU.
        """
        padded = _padded(x_NCHW, self._step)
        shape = padded.shape[1:]
        if self._fits(shape, device, most_numbers):
            made = apply_in_batches(self._at(shape).reconstruct, padded, shape, on_rows, device)
        else:
            allowed = most_numbers or _free_numbers(device)
            made = self._in_tiles(padded, on_rows, device, self._side(shape[0], allowed))
        height, width = x_NCHW.shape[2:]
        return np.ascontiguousarray(made[:, :, :height, :width])

    def _in_tiles(
        self, x_NCHW: Floats, on_rows: OnRows | None, device: torch.device, side: int
    ) -> Floats:
        made = np.empty_like(x_NCHW)
        axes = [spans_of(length, side, self._margin, self._step) for length in x_NCHW.shape[2:]]
        tiles = list(product(*axes))
        for index, x_CHW in enumerate(x_NCHW):
            function = self._of_tiles_of(x_CHW, device)
            for number, (down, across) in enumerate(tiles, start=1):
                tile = np.ascontiguousarray(x_CHW[None, :, down.tile, across.tile])
                (found,) = apply_in_batches(function, tile, tile.shape[1:], None, device)
                made[index, :, down.kept, across.kept] = found[:, down.inside, across.inside]
                if on_rows:
                    on_rows(index + (number == len(tiles)), len(x_NCHW))
        return made

    def _of_tiles_of(self, x_CHW: Floats, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Returns a function that reconstructs tiles of an image, and knows of the whole of it."""
        with torch.inference_mode():
            whole = torch.from_numpy(x_CHW[None]).to(device)
            context = self._at(x_CHW.shape).context(whole)

        def reconstruct(tile: Tensor) -> Tensor:
            sized = self._at(tuple(tile.shape[1:]))
            return sized.decode(sized.encode(tile, context))

        return reconstruct

    def _fits(self, shape: Shape, device: torch.device, most_numbers: int | None) -> bool:
        """Returns whether the net can compute an image of a shape as a whole."""
        sized = self._at(shape)
        if sized.plan.latent_dim > _LARGEST_LATENT:
            return False
        needed = nets.made_for(sized.plan.net, shape).numbers_in_memory()
        if most_numbers is None:
            return needed <= _FEW_NUMBERS or needed <= _free_numbers(device)
        return needed <= most_numbers

    def _side(self, channels: int, most_numbers: int) -> int:
        """Returns how long the sides of a tile are, for which the net needs that much memory."""
        least = rounded_up(_LEAST_MARGINS * self._margin, self._step)
        sized = self._at((channels, least, least))
        made = nets.made_for(sized.plan.net, sized.plan.row_shape)
        latents = sized.plan.latent_dim / _LARGEST_LATENT
        of_a_pixel = max(made.numbers_in_memory() / most_numbers, latents) / least**2
        return max(least, isqrt(int(1 / of_a_pixel)) // self._step * self._step)

    def _at(self, shape: Shape) -> Autoencoder:
        if shape == self._module.plan.row_shape:
            return self._module
        if shape not in self._sized:
            if len(self._sized) >= _SIZES_KEPT:
                self._sized.pop(next(iter(self._sized)))
            self._sized[shape] = self._module.at(shape)
        return self._sized[shape]


def image_shape(shape: Shape, channels: int) -> Shape | None:
    """Returns the shape (C, H, W) of each image of an array, `None` if it holds no such images.

    Args:
        shape: The array's shape: (N, C, H, W), or (N, H, W) of images with one channel.
        channels: The number of channels that images must have.
    """
    found = (1, *shape[1:]) if len(shape) == 3 else shape[1:]
    return found if len(found) == 3 and found[0] == channels and min(found) > 0 else None


def _padded(x_NCHW: Floats, step: int) -> Floats:
    """Returns images whose sides are multiples, mirrored at their right and lower edge."""
    more = [rounded_up(side, step) - side for side in x_NCHW.shape[2:]]
    if not any(more):
        return x_NCHW
    return np.pad(x_NCHW, [(0, 0), (0, 0), *((0, each) for each in more)], mode="reflect")


def _free_numbers(device: torch.device) -> int:
    """Returns how many float32 a net may hold on a device."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory_bytes()
    return max(1, int(free * _SHARE_OF_MEMORY) // _BYTES)
