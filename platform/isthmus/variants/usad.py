"""USAD: two decoders share an encoder, and the second learns to expose the first one's output."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from isthmus.core import Autoencoder, LossOutput, PlanLike
from isthmus.core.adversary import AdversarialAutoencoder, frozen, redrawn
from isthmus.spec import SpecModel


class Usad(AdversarialAutoencoder):
    """Trains two autoencoders to reconstruct, and the second to fail on the first one's output.

    In epoch n the first minimises R(x, AE1(x)) / n + (1 - 1/n) |x - AE2(AE1(x))|^2 and the second
    R(x, AE2(x)) / n - (1 - 1/n) |x - AE2(AE1(x))|^2, where R is the plan's reconstruction loss. A
    row's score weights both errors: the second magnifies what the first cannot make normal.

    Source: Audibert et al. 2020, "USAD: UnSupervised Anomaly Detection on Multivariate Time
    Series", KDD, section 3: the losses of both autoencoders and the anomaly score.
    """

    class Config(SpecModel):
        """The adversarial weight and the score."""

        largest_adversarial_weight: float = Field(default=0.1, ge=0.0, le=1.0)
        """Upper limit of the adversarial terms' weight, which is 1 - 1/n in epoch n; the weight of
        the reconstruction is 1 minus it. The paper's limit is 1, which trains for few epochs only:
        soon after, the second decoder learns nothing but to fail."""
        alpha: float = Field(default=0.5, ge=0.0, le=1.0)
        """Weight of the first autoencoder's error in the score; the error of both, one after the
        other, has the weight 1 - alpha. A lower alpha finds more anomalies, and more false ones."""

    SUMMARY: ClassVar[str] = "two decoders, one unmasks the other; for anomalies close to normal"
    DECODER_PARTS: ClassVar[tuple[str, ...]] = (*Autoencoder.DECODER_PARTS, "second_decoder")
    options: Config

    def __init__(self, plan: PlanLike) -> None:
        """Builds an `Autoencoder` with a second decoder like the first, with its own weights."""
        super().__init__(plan)
        self.second_decoder = redrawn(self.decoder)

    def adversary(self) -> nn.Module:
        """Returns the second decoder, which has an optimizer of its own."""
        return self.second_decoder

    def loss(self, x: Tensor) -> LossOutput:
        """Computes both autoencoders' losses, of scaled rows (B, *row_shape).

        On validation rows the total is the sum of both reconstruction losses, as in the first
        epoch: the adversarial loss says which side leads, and not how good the model is.
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
        weight = min(1 - 1 / (self.clock.epoch + 1), self.options.largest_adversarial_weight)
        return LossOutput(
            total=(1 - weight) * (first + second) + weight * (for_first - for_second),
            parts={**parts, "adversarial": for_first},
        )

    def score(self, x: Tensor) -> Tensor:
        """Computes how unusual each row is: both errors, weighted; means over a row, scaled units.

        Returns:
            The scores, shape (B,). A higher score means a more unusual row.
        """
        scaled: Tensor = self.scaling(x)
        first_raw = self.decoder(self.encoder(scaled))
        first = _error(self.reconstruction.activate(first_raw), scaled)
        both = _error(self._through_both(first_raw), scaled)
        alpha = self.options.alpha
        return (alpha * first + (1 - alpha) * both) / scaled[0].numel()

    def _adversarial(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Computes |x - AE2(AE1(x))|^2 twice, to train the first decoder, and the second.

        Both values are the same. The encoder is in both autoencoders, and their adversarial terms
        have opposite signs: its two gradients cancel, so none is computed, and it learns from both
        reconstruction losses alone.
        """
        made = self.reconstruction.activate(self.decoder(z))
        z_again = frozen(self.encoder, made)
        for_first = _error(self._activated(frozen(self.second_decoder, z_again)), x)
        unmasked = self._activated(self.second_decoder(z_again.detach()))
        # Values beyond the rows' own range are clamped, which replaces the paper's sigmoid: without
        # either, the second decoder could lower its loss without limit.
        for_second = _error(unmasked.clamp(x.amin(), x.amax()), x)
        return for_first.mean(), for_second.mean()

    def _through_both(self, first_raw: Tensor) -> Tensor:
        """Computes AE2(AE1(x)) from the first decoder's raw output, both in scaled units."""
        z_again = self.encoder(self.reconstruction.activate(first_raw))
        return self._activated(self.second_decoder(z_again))

    def _activated(self, raw: Tensor) -> Tensor:
        return self.reconstruction.activate(raw)


def _error(output: Tensor, target: Tensor) -> Tensor:
    """Computes the squared error of each row, shape (B,), summed over the row."""
    return (output - target).square().flatten(1).sum(dim=1)
