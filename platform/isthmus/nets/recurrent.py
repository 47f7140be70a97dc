"""LSTM or GRU: reads a window step by step, and writes one from the latent; for series.

Shapes: x_BCT a batch of windows; H numbers of the hidden state.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from isthmus.nets._levels import power_of_two
from isthmus.nets._net import Net
from isthmus.spec import SpecModel
from isthmus.types import DataKind, Shape

Cell = Literal["lstm", "gru"]

_HIDDEN_RANGE = (32, 128)


class Recurrent(Net):
    """The last hidden state becomes the latent; the decoder starts from it and is fed it again
    at each step, so that it writes all steps in one call.

    The decoder is not fed what it wrote before (the papers' unconditioned form), and it writes
    forwards. For windows of hundreds of steps `temporal` and `transformer` are faster and forget
    less.

    Source: Srivastava et al. 2015, "Unsupervised Learning of Video Representations using LSTMs",
    arXiv:1502.04681, section 2.2; Malhotra et al. 2016, "LSTM-based Encoder-Decoder for
    Multi-sensor Anomaly Detection", arXiv:1607.00148; Cho et al. 2014, arXiv:1406.1078 (GRU, and a
    decoder that sees the encoding at each step).
    """

    class Config(SpecModel):
        """The cells and how many."""

        cell: Cell = "lstm"
        """`gru` has a quarter fewer weights."""
        layers: Annotated[int, Field(ge=1, le=16)] = 1
        """Recurrent layers of each half."""
        hidden: Annotated[int, Field(ge=1, le=8192)] | Literal["auto"] = "auto"
        """Numbers of a layer's hidden state, in each direction. `auto`: as many as a row has, as
        a power of two between 32 and 128."""
        bidirectional: bool = True
        """Reads and writes from both ends: the first steps are as near as the last. For twice the
        time and weights."""
        dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
        """Share of the numbers between two recurrent layers set to 0 while training."""

    SUMMARY: ClassVar[str] = "LSTM or GRU; short series whose steps depend on those before"
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.SERIES,)

    def encoder(self, outputs: int) -> nn.Module:
        """(B, C, T) -> (B, outputs)."""
        return _Encoder(self._cells(self.row_shape[0]), outputs)

    def decoder(self, inputs: int) -> nn.Module:
        """(B, inputs) -> (B, C, T)."""
        return _Decoder(self._cells(inputs), inputs, self.row_shape)

    def refusal(self, latent_dim: int) -> str | None:
        """Dropout stands between layers."""
        if self.options.dropout and self.options.layers == 1:
            return "dropout stands between recurrent layers, and layers is 1; use layers: 2"
        return None

    def _cells(self, inputs: int) -> nn.LSTM | nn.GRU:
        hidden = self.options.hidden
        if hidden == "auto":
            hidden = power_of_two(prod(self.row_shape), *_HIDDEN_RANGE)
        return (nn.LSTM if self.options.cell == "lstm" else nn.GRU)(
            inputs,
            hidden,
            num_layers=self.options.layers,
            batch_first=True,
            dropout=self.options.dropout,
            bidirectional=self.options.bidirectional,
        )


class _Encoder(nn.Module):
    """The last layer's last hidden state, of both directions, as numbers of the latent."""

    def __init__(self, cells: nn.LSTM | nn.GRU, outputs: int) -> None:
        super().__init__()
        self.cells = cells
        self.directions = 2 if cells.bidirectional else 1
        self.latent = nn.Linear(self.directions * cells.hidden_size, outputs)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """(B, C, T) to (B, outputs)."""
        _, state = self.cells(x_BCT.transpose(1, 2))
        hidden = state[0] if isinstance(state, tuple) else state
        z: Tensor = self.latent(hidden[-self.directions :].transpose(0, 1).flatten(1))
        return z


class _Decoder(nn.Module):
    """Unrolls from states that the latent determines, and is fed the latent at each step."""

    def __init__(self, cells: nn.LSTM | nn.GRU, inputs: int, row_shape: Shape) -> None:
        super().__init__()
        channels, self.steps = row_shape
        directions = 2 if cells.bidirectional else 1
        self.cells = cells
        # An LSTM starts from a hidden state and a cell's, a GRU from the first alone.
        self.states = 2 if isinstance(cells, nn.LSTM) else 1
        self.state_shape = (self.states, directions * cells.num_layers, cells.hidden_size)
        self.start = nn.Linear(inputs, prod(self.state_shape))
        self.row = nn.Linear(directions * cells.hidden_size, channels)

    def forward(self, z_BD: Tensor) -> Tensor:
        """(B, inputs) to (B, C, T)."""
        starts = self.start(z_BD).tanh().unflatten(1, self.state_shape).permute(1, 2, 0, 3)
        fed = z_BD.unsqueeze(1).expand(-1, self.steps, -1)
        hidden, cell = starts[0].contiguous(), starts[-1].contiguous()
        written, _ = self.cells(fed, (hidden, cell) if self.states == 2 else hidden)
        row: Tensor = self.row(written)
        return row.transpose(1, 2)
