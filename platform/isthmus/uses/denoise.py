"""Denoises a file: encodes and decodes every row, and writes the rows in the form of the input."""

from __future__ import annotations

from isthmus.data import Block
from isthmus.data.prepared.watching import FAR_OUTSIDE_OF_NOISE
from isthmus.data.rows import FloatArray
from isthmus.execution.blocks import OnRows
from isthmus.execution.outputs import RowsOutput
from isthmus.execution.use import RowsUse
from isthmus.registry import Pair


class Denoise(RowsUse):
    """Takes the noise away from every row of an input.

    Of folders of images and sounds, files that cannot be read are set aside; in a table or an array
    every row keeps its place, so there a row that cannot be read ends the job.
    """

    SUMMARY = "Denoise every row of a file, and write the rows in the form of the input."
    EXAMPLE = "isthmus denoise --model digits@champion noisy.npz clean.npz"
    DOING, DONE = "denoising", "denoised"
    OUTPUT = RowsOutput()
    MAY_LEAVE = FAR_OUTSIDE_OF_NOISE

    def apply(self, pair: Pair, block: Block, on_rows: OnRows | None) -> FloatArray:
        """Returns the rows without their noise."""
        return pair.denoise(block.values, on_rows=on_rows, as_read=True)
