"""An LSTM or GRU that reads a window step by step, and decodes one from the latent; for series.

Shapes: x_BCT a batch of windows; H the size of the hidden state.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from isthmus.nets._levels import WidthMultiplier, multiplied, power_of_two
from isthmus.nets._net import Net
from isthmus.spec import Sizes, SpecModel
from isthmus.types import DataKind, Shape

Cell = Literal["lstm", "gru"]

_HIDDEN_RANGE = (32, 128)


class Recurrent(Net):
    """An LSTM or GRU whose last hidden state becomes the latent.

    The decoder starts from the latent and receives it again at each step, so that it computes all
    steps in one call. It does not receive its earlier outputs (the papers' unconditioned form), and
    it outputs the steps forwards. For windows of hundreds of steps `temporal` and `transformer` are
    faster and forget less.

    Source: Srivastava et al. 2015, "Unsupervised Learning of Video Representations using LSTMs",
    arXiv:1502.04681, section 2.2; Malhotra et al. 2016, "LSTM-based Encoder-Decoder for
    Multi-sensor Anomaly Detection", arXiv:1607.00148; Cho et al. 2014, arXiv:1406.1078 (GRU, and a
    decoder that sees the encoding at each step).
    """

    class Config(SpecModel):
        """The recurrent layers."""

        cell: Cell = "lstm"
        """`gru` has a quarter fewer weights."""
        layers: Annotated[int, Field(ge=1, le=16)] = 1
        """Recurrent layers in the encoder, and as many in the decoder."""
        hidden: Annotated[int, Field(ge=1, le=8192)] | Literal["auto"] = "auto"
        """Size of a layer's hidden state, in each direction. `auto`: the number of values in a
        row, as a power of two between 32 and 128."""
        width_multiplier: WidthMultiplier = 1.0
        """The factor of the automatic size."""
        bidirectional: bool = True
        """Whether to run over the steps in both directions, so that the first steps are as near to
        the latent as the last. Takes twice the time and weights."""
        dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
        """Dropout rate between two recurrent layers."""

    SUMMARY: ClassVar[str] = "LSTM or GRU; short series whose steps depend on those before"
    SIZES: ClassVar[Sizes] = Sizes.of(
        small={"width_multiplier": 0.5},
        large={"width_multiplier": 2.0, "layers": 2},
    )
    KINDS: ClassVar[tuple[DataKind, ...]] = (DataKind.SERIES,)

    def encoder(self, outputs: int) -> nn.Module:
        """Returns a module that maps (B, C, T) to (B, outputs)."""
        return _Encoder(self._cells(self.row_shape[0]), outputs)

    def decoder(self, inputs: int) -> nn.Module:
        """Returns a module that maps (B, inputs) to (B, C, T)."""
        return _Decoder(self._cells(inputs), inputs, self.row_shape)

    def refusal(self, latent_dim: int) -> str | None:
        """Returns why one layer cannot have dropout, which acts between layers; else `None`."""
        if self.options.dropout and self.options.layers == 1:
            return "dropout stands between recurrent layers, and layers is 1; use layers: 2"
        return None

    def _cells(self, inputs: int) -> nn.LSTM | nn.GRU:
        hidden = self.options.hidden
        if hidden == "auto":
            found = power_of_two(prod(self.row_shape), *_HIDDEN_RANGE)
            hidden = multiplied(found, self.options.width_multiplier)
        return (nn.LSTM if self.options.cell == "lstm" else nn.GRU)(
            inputs,
            hidden,
            num_layers=self.options.layers,
            batch_first=True,
            dropout=self.options.dropout,
            bidirectional=self.options.bidirectional,
        )


class _Encoder(nn.Module):
    """Maps the last layer's last hidden state, of both directions, to the latent."""

    def __init__(self, cells: nn.LSTM | nn.GRU, outputs: int) -> None:
        super().__init__()
        self.cells = cells
        self.directions = 2 if cells.bidirectional else 1
        self.latent = nn.Linear(self.directions * cells.hidden_size, outputs)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """Maps (B, C, T) to (B, outputs)."""
        _, state = self.cells(x_BCT.transpose(1, 2))
        hidden = state[0] if isinstance(state, tuple) else state
        z: Tensor = self.latent(hidden[-self.directions :].transpose(0, 1).flatten(1))
        return z


class _Decoder(nn.Module):
    """Starts from states that the latent determines, and receives the latent at each step."""

    def __init__(self, cells: nn.LSTM | nn.GRU, inputs: int, row_shape: Shape) -> None:
        super().__init__()
        channels, self.steps = row_shape
        directions = 2 if cells.bidirectional else 1
        self.cells = cells
        # An LSTM starts from a hidden state and a cell state, a GRU from a hidden state alone.
        self.states = 2 if isinstance(cells, nn.LSTM) else 1
        self.state_shape = (self.states, directions * cells.num_layers, cells.hidden_size)
        self.start = nn.Linear(inputs, prod(self.state_shape))
        self.row = nn.Linear(directions * cells.hidden_size, channels)

    def forward(self, z_BD: Tensor) -> Tensor:
        """Maps (B, inputs) to (B, C, T)."""
        starts = self.start(z_BD).tanh().unflatten(1, self.state_shape).permute(1, 2, 0, 3)
        fed = z_BD.unsqueeze(1).expand(-1, self.steps, -1)
        hidden, cell = starts[0].contiguous(), starts[-1].contiguous()
        written, _ = self.cells(fed, (hidden, cell) if self.states == 2 else hidden)
        row: Tensor = self.row(written)
        return row.transpose(1, 2)
