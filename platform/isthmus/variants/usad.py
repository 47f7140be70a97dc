"""USAD: two decoders on one encoder, one of which learns to unmask what the other made."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.core.adversary import AdversarialAutoencoder, frozen, redrawn
from isthmus.spec import SpecModel


class Usad(AdversarialAutoencoder):
    """Both autoencoders learn to reconstruct; the second also to fail on what the first made.

    In epoch n the first minimises R(x, AE1(x)) / n + (1 - 1/n) |x - AE2(AE1(x))|^2 and the second
    R(x, AE2(x)) / n - (1 - 1/n) |x - AE2(AE1(x))|^2, where R is the plan's reconstruction loss. A
    row's score weighs both errors: what the first cannot make normal, the second magnifies.

    Source: Audibert et al. 2020, "USAD: UnSupervised Anomaly Detection on Multivariate Time
    Series", KDD, section 3: the losses of both autoencoders and the anomaly score.
    """

    class Config(SpecModel):
        """The game and the score."""

        largest_adversarial_weight: float = Field(default=0.1, ge=0.0, le=1.0)
        """Where the weight of the adversarial terms, 1 - 1/n in epoch n, stops rising; that of
        the reconstruction is 1 minus it. The paper's is 1, which trains for few epochs only: soon
        after, the second decoder learns nothing but to fail."""
        alpha: float = Field(default=0.5, ge=0.0, le=1.0)
        """Weight of the first autoencoder's error in the score; that of the error of both, one
        after the other, is 1 - alpha. Lower finds more anomalies, and more false ones."""

    SUMMARY: ClassVar[str] = "two decoders, one unmasks the other; for anomalies close to normal"
    DECODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.DECODER_PARTS, "second_decoder")
    options: Config

    def __init__(self, plan: PlanLike, **training: Any) -> None:
        """As `Autoencoder`, with a second decoder like the first and weights of its own."""
        super().__init__(plan, **training)
        self.second_decoder = redrawn(self.decoder)

    def adversary(self) -> nn.Module:
        """Returns the second decoder, which has an optimizer of its own."""
        return self.second_decoder

    def loss(self, x: Tensor) -> LossOutput:
        """Both autoencoders' losses, of scaled rows (B, *row_shape).

        On validation rows the total is the sum of both reconstruction terms, as in the first
        epoch: the game's own value says which side leads, and not how good the pair is.
        """
        z = self.encoder(x)
        first_raw = self.decoder(z)
        first = self.reconstruction_term(first_raw, x)
        second = self.reconstruction_term(self.second_decoder(z), x)
        parts = {"reconstruction": first, "second_reconstruction": second}
        if not self.training:
            again = self._through_both(first_raw)
            return LossOutput(first + second, {**parts, "adversarial": _error(again, x).mean()})
        for_first, for_second = self._adversarial(z.detach(), x)
        weight = min(1 - 1 / (self.current_epoch + 1), self.options.largest_adversarial_weight)
        return LossOutput(
            total=(1 - weight) * (first + second) + weight * (for_first - for_second),
            parts={**parts, "adversarial": for_first},
        )

    def score(self, x: Tensor) -> Tensor:
        """How unusual each row is: both errors, weighted; means over a row, scaled units.

        Returns:
            Shape (B,); higher is more unusual.
        """
        scaled: Tensor = self.scaling(x)
        first_raw = self.decoder(self.encoder(scaled))
        first = _error(self.reconstruction.activate(first_raw), scaled)
        both = _error(self._through_both(first_raw), scaled)
        alpha = self.options.alpha
        return (alpha * first + (1 - alpha) * both) / scaled[0].numel()

    def _adversarial(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """|x - AE2(AE1(x))|^2 twice, the same number: to teach the first decoder, and the second.

        The encoder is in both autoencoders, and their adversarial terms have opposite signs: its
        two gradients cancel, so none is taken, and it learns from both reconstructions alone.
        """
        made = self.reconstruction.activate(self.decoder(z))
        z_again = frozen(self.encoder, made)
        for_first = _error(self._activated(frozen(self.second_decoder, z_again)), x)
        unmasked = self._activated(self.second_decoder(z_again.detach()))
        # Nothing is gained by going beyond the rows' own range: as with the paper's sigmoid,
        # without which the second decoder could make its loss as low as it likes.
        for_second = _error(unmasked.clamp(x.amin(), x.amax()), x)
        return for_first.mean(), for_second.mean()

    def _through_both(self, first_raw: Tensor) -> Tensor:
        """AE2(AE1(x)) from the first decoder's raw output, both in scaled units."""
        z_again = self.encoder(self.reconstruction.activate(first_raw))
        return self._activated(self.second_decoder(z_again))

    def _activated(self, raw: Tensor) -> Tensor:
        return self.reconstruction.activate(raw)


def _error(output: Tensor, target: Tensor) -> Tensor:
    """The squared error of each row, shape (B,), summed over the row."""
    return (output - target).square().flatten(1).sum(dim=1)
