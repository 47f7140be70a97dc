"""The LightningModule that every variant is: two halves, scaling, calibration and one loss.

Shapes: x_B... is a batch of rows (B, *row_shape); z_BD a batch of latents (B, latent_dim).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from isthmus.core.calibration import Calibration
from isthmus.core.reconstruction import activate, reconstruction_error
from isthmus.core.scaling import Scaling
from isthmus.spec import ModelPlan, SpecModel, TrainingSpec

Stage = Literal["train", "validation"]


@dataclass(frozen=True)
class LossOutput:
    """What a variant minimises, and what it is made of.

    Attributes:
        total: Shape (). The loss, averaged over the batch.
        parts: Named terms of it, each of shape (), averaged over the batch, before weights.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Autoencoder(LightningModule, ABC):
    """An encoder and a decoder that are trained together and used apart.

    A variant defines `loss`, and where its latent is not simply the encoder's output, `latent`.
    `encode`, `decode`, `reconstruct` and `score` take and give data units; `loss` works on rows
    that are scaled already, because training scales all rows once and not at every step.
    """

    class Config(SpecModel):
        """A variant's own options, as they stand beside its name in the job file."""

    SUMMARY: ClassVar[str] = ""
    """One line: what it is, and when to pick it."""
    ENCODER_OUTPUTS_PER_LATENT: ClassVar[int] = 1
    """Numbers the encoder emits for one of the latent's: 2 for a mean and a variance."""
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = ("scaling", "encoder")
    """Submodules that `encode` needs: what the registered encoder holds."""
    DECODER_PARTS: ClassVar[tuple[str, ...]] = ("scaling", "decoder", "calibration")
    """Submodules that `decode` needs, and the calibration: what the registered decoder holds."""

    options: SpecModel
    """The variant's `Config`, as the plan has it."""

    def __init__(self, plan: ModelPlan, encoder: nn.Module, decoder: nn.Module) -> None:
        """Args:
        plan: What to build; kept as `self.plan`.
        encoder: (B, *row_shape) -> (B, latent_dim * ENCODER_OUTPUTS_PER_LATENT).
        decoder: (B, latent_dim) -> (B, *row_shape), raw, before the output activation.
        """
        super().__init__()
        self.plan = plan
        self.options = self.Config.model_validate(dict(plan.variant.options))
        self.encoder = encoder
        self.decoder = decoder
        self.scaling = Scaling(plan.row_shape)
        self.calibration = Calibration()
        self._training: TrainingSpec | None = None
        self._sums: dict[Stage, dict[str, Tensor]] = {"train": {}, "validation": {}}

    # -- what a variant says --------------------------------------------------------------------

    @abstractmethod
    def loss(self, x: Tensor) -> LossOutput:
        """The loss of a batch of scaled rows, shape (B, *row_shape)."""

    def latent(self, encoded: Tensor) -> Tensor:
        """The encoder's output (B, latent_dim * k) as the latent (B, latent_dim) that is used."""
        return encoded

    def reconstruction_term(self, output: Tensor, target: Tensor) -> Tensor:
        """Shape (): the plan's reconstruction loss, summed over a row, averaged over the batch."""
        return reconstruction_error(output, target, self.plan.reconstruction).mean()

    # -- what a trained autoencoder does, in data units -----------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Rows to latents: (B, *row_shape) to (B, latent_dim). The same input, the same latent."""
        encoded: Tensor = self.encoder(self.scaling(x))
        return self.latent(encoded)

    def decode(self, z: Tensor) -> Tensor:
        """Latents to rows: (B, latent_dim) to (B, *row_shape)."""
        x: Tensor = self.scaling.inverse(self._decode_scaled(z))
        return x

    def reconstruct(self, x: Tensor) -> Tensor:
        """Rows through the bottleneck and back, in the same shape and units."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """As `reconstruct`."""
        return self.reconstruct(x)

    def score(self, x: Tensor) -> Tensor:
        """How unusual each row is: the mean squared error of its reconstruction, scaled units.

        Returns:
            Shape (B,); higher is more unusual.
        """
        scaled: Tensor = self.scaling(x)
        residual = self._decode_scaled(self.latent(self.encoder(scaled))) - scaled
        return residual.square().flatten(1).mean(dim=1)

    def _decode_scaled(self, z: Tensor) -> Tensor:
        return activate(self.decoder(z), self.plan.reconstruction)

    # -- Lightning ------------------------------------------------------------------------------

    def configure_training(self, training: TrainingSpec) -> None:
        """Takes the job's training options; called before `Trainer.fit`."""
        self._training = training

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, fused: one kernel for all parameters."""
        if self._training is None:
            raise RuntimeError("configure_training() was not called before fit()")
        return torch.optim.AdamW(
            self.parameters(),
            lr=self._training.learning_rate,
            weight_decay=self._training.weight_decay,
            fused=True,
        )

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """One step on scaled rows."""
        return self._step(batch, "train")

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """The loss of held-out rows."""
        self._step(batch, "validation")

    def _step(self, batch: Tensor, stage: Stage) -> Tensor:
        output = self.loss(batch)
        # Sums stay tensors on the device until the epoch ends: reading a number waits for the GPU.
        sums = self._sums[stage]
        rows = len(batch)
        for name, value in {"loss": output.total, **output.parts}.items():
            weighted = value.detach() * rows
            sums[name] = sums[name] + weighted if name in sums else weighted
        sums["rows"] = sums.get("rows", torch.zeros_like(output.total.detach())) + rows
        return output.total

    def pop_sums(self, stage: Stage) -> dict[str, Tensor]:
        """The stage's sums of loss parts over rows, and `rows`; starts counting anew."""
        sums, self._sums[stage] = self._sums[stage], {}
        return sums

    def optimizer_zero_grad(self, *args: Any, **kwargs: Any) -> None:
        """Frees gradients instead of filling them with zeros."""
        optimizer: torch.optim.Optimizer = args[2]
        optimizer.zero_grad(set_to_none=True)
