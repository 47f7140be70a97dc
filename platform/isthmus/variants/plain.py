"""The undercomplete autoencoder: all that holds it back is the bottleneck."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from isthmus.core import Autoencoder, LossOutput


class Plain(Autoencoder):
    """Minimises the reconstruction loss alone.

    Source: Hinton & Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural
    Networks", Science 313, p. 504.
    """

    SUMMARY: ClassVar[str] = "reconstruction alone; the first one to try"

    def loss(self, x: Tensor) -> LossOutput:
        """The reconstruction loss of scaled rows (B, *row_shape)."""
        reconstruction = self.reconstruction_term(self.decoder(self.encoder(x)), x)
        return LossOutput(total=reconstruction, parts={"reconstruction": reconstruction})
