"""The LightningModule that every variant extends: two halves, scaling, one loss.

Shapes: x_B... is a batch of rows (B, *row_shape); z_BD is a batch of latents (B, latent_dim).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, ClassVar

from torch import Tensor

from isthmus import nets
from isthmus.core.learning_rate import Schedule
from isthmus.core.lightning import LossOutput, TrainedByLightning
from isthmus.core.reconstruction import Reconstruction
from isthmus.core.scaling import Scaling
from isthmus.core.similarity import peak_signal_to_noise_ratio, ssim
from isthmus.spec import ModelPlan, SpecModel
from isthmus.types import DataKind, ReconstructionLoss, Shape

PlanLike = ModelPlan | Mapping[str, Any]
"""A `ModelPlan`, or the mapping of plain values that a checkpoint stores for it."""

# `latent_dim: auto` is a row's number of values divided by the first, clamped to the second.
_LATENT_SHARE = 4
_LATENT_RANGE = (2, 32)


class Autoencoder(TrainedByLightning):
    """An encoder and a decoder that are trained together and can be used separately.

    A variant defines `loss`. It also defines `latent` if its latent is not simply the encoder's
    output. `encode`, `decode`, `reconstruct` and `score` work in data units. `loss` works on rows
    that are already scaled, because training scales all rows once and not at every step.

    `loss` is called in training and, with `self.training` false, on validation rows. There it must
    return the final objective (no annealed weights), because the epoch with the lowest validation
    loss is the best one.
    """

    class Config(SpecModel):
        """The variant's own options, which the job file gives next to the variant's name."""

    SUMMARY: ClassVar[str] = ""
    """A line that says what the variant is and when to choose it."""
    ENCODER_OUTPUTS_PER_LATENT: ClassVar[int] = 1
    """The number of encoder outputs for each latent dimension: 2 for a mean and a variance."""
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = ("scaling", "encoder")
    """The submodules that `encode` needs. The registered encoder consists of them."""
    DECODER_PARTS: ClassVar[tuple[str, ...]] = ("scaling", "decoder", "reconstruction")
    """The submodules that `decode` needs, and those that `score` needs besides the encoder's. The
    registered decoder consists of them."""
    TRAINING_PARTS: ClassVar[tuple[str, ...]] = ()
    """The submodules that only training needs, such as a discriminator. They are in neither half
    and are not registered."""
    KINDS: ClassVar[tuple[DataKind, ...]] = tuple(DataKind)
    """The kinds of data that the variant accepts."""
    VIEWS: ClassVar[int] = 1
    """The number of measurements of each row that the variant trains on. With 2, `loss` takes a
    batch of shape (B, 2, *row_shape)."""
    TAKES_SKIPS: ClassVar[bool] = False
    """Whether the variant works with nets whose skip connections bypass the bottleneck. Its target
    must then differ from its input, because otherwise it learns to copy."""
    AUTO_LOSS: ClassVar[ReconstructionLoss] = ReconstructionLoss.MSE
    """The loss that `reconstruction: auto` selects. Where the loss is a likelihood next to a KL
    term, a learned variance spares the user a weight (Rybkin et al. 2021, arXiv:2006.13202)."""
    NEEDS_ELEMENTWISE_LOSS: ClassVar[bool] = False
    """Whether the variant weights the errors of single values, which SSIM and spectral losses do
    not have."""

    CUDA_GRAPH_SAFE: ClassVar[bool] = False
    """Whether a GPU can record one training step as a CUDA graph and replay it. Every step must
    then run the same operations, must differ only in the values of its tensors, and must never
    wait for these values. A Python number or branch that changes from step to step would be
    replayed as it was recorded. `warm_up` is safe: it returns a tensor while a step is recorded."""

    options: SpecModel
    """The variant's `Config`, with the values that the plan gives."""

    def __init__(
        self,
        plan: PlanLike,
        *,
        learning_rate: float = 1e-3,
        schedule: Schedule = "constant",
        warm_up_epochs: float = 0.0,
        final_learning_rate_share: float = 0.0,
        weight_decay: float = 0.0,
        gradient_clip_norm: float | None = None,
    ) -> None:
        """Builds the module and draws its weights from torch's global generator.

        All arguments are hyperparameters: `load_from_checkpoint` builds the module from them.

        Args:
            plan: The plan of the model. It is kept as `self.plan`.
            learning_rate: AdamW's learning rate.
            schedule: How the learning rate decays over the epochs after the warm-up.
            warm_up_epochs: The number of epochs over which the learning rate rises from 0. It may
                be fractional.
            final_learning_rate_share: The fraction of the learning rate at which a decaying
                schedule ends.
            weight_decay: AdamW's decoupled weight decay.
            gradient_clip_norm: The largest L2 norm of the gradients, to which larger ones are
                clipped. By default gradients are not clipped.
        """
        super().__init__()
        plan = plan if isinstance(plan, ModelPlan) else ModelPlan.model_validate(dict(plan))
        # Only plain values are saved, so that loading a checkpoint does not run pickled code.
        self.save_hyperparameters(
            {
                "plan": plan.model_dump(mode="json"),
                "learning_rate": learning_rate,
                "schedule": schedule,
                "warm_up_epochs": warm_up_epochs,
                "final_learning_rate_share": final_learning_rate_share,
                "weight_decay": weight_decay,
                "gradient_clip_norm": gradient_clip_norm,
            }
        )
        self.plan = plan
        self.options = self.Config.model_validate(dict(plan.variant.options))
        outputs = plan.latent_dim * self.ENCODER_OUTPUTS_PER_LATENT
        self.encoder, self.decoder = nets.build(plan, outputs)
        self.reconstruction = Reconstruction(plan.reconstruction, plan.row_shape)
        self.scaling = Scaling(plan.row_shape)

    # -- what a variant defines -----------------------------------------------------------------

    @abstractmethod
    def loss(self, x: Tensor) -> LossOutput:
        """Computes the loss of a batch of scaled rows, shape (B, *row_shape)."""

    def latent(self, encoded: Tensor) -> Tensor:
        """Converts the encoder's output (B, latent_dim * k) to the latent (B, latent_dim).

        k is `ENCODER_OUTPUTS_PER_LATENT`. By default the latent is the output itself.
        """
        return encoded

    @classmethod
    def auto_latent_dim(cls, row_shape: Shape) -> int:
        """Returns what `latent_dim: auto` means: a quarter of a row's values, from 2 to 32."""
        lowest, highest = _LATENT_RANGE
        return min(max(prod(row_shape) // _LATENT_SHARE, lowest), highest)

    @property
    def code_size(self) -> int:
        """The number of latent values that describe a row. PCA is compared at this size."""
        return self.plan.latent_dim

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Returns why this variant cannot work with the plan and what can, or `None` if it can."""
        return None

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Computes the metrics that papers on this kind of model report; none by default.

        Args:
            x: Scaled held-out rows, shape (N, *row_shape).
        """
        return {}

    def noised(self, x: Tensor) -> Tensor | None:
        """Adds to scaled rows the noise that the variant learns to remove.

        Returns:
            The noisy rows, or `None` if the variant does not remove noise or never saw a row
            without noise.
        """
        return None

    # -- what a variant can use -----------------------------------------------------------------

    def reconstruction_term(self, output: Tensor, target: Tensor) -> Tensor:
        """Computes the plan's reconstruction loss, shape ().

        The loss is summed over a row and averaged over the batch.
        """
        return self.reconstruction.mean(output, target)

    # -- what a trained autoencoder does, in data units -----------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Encodes rows of shape (B, *row_shape) as latents of shape (B, latent_dim).

        The same input always gives the same latent.
        """
        encoded: Tensor = self.encoder(self.scaling(x))
        return self.latent(encoded)

    def decode(self, z: Tensor) -> Tensor:
        """Decodes latents of shape (B, latent_dim) to rows of shape (B, *row_shape)."""
        x: Tensor = self.scaling.inverse(self._decode_scaled(z))
        return x

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encodes and decodes rows. The result has their shape and units."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """Calls `reconstruct`."""
        return self.reconstruct(x)

    def score(self, x: Tensor) -> Tensor:
        """Computes how unusual each row is, by default as its reconstruction error.

        Returns:
            The scores, shape (B,). A higher score means a more unusual row.
        """
        return self.reconstruction_error(x)

    def exportable_score(self) -> Callable[[Tensor], Tensor]:
        """Returns a function that computes `score` with operations that ONNX supports.

        The function runs on the CPU, and the weights must not change after this call.
        """
        return self.score

    def reconstruction_error(self, x: Tensor) -> Tensor:
        """Computes the mean squared error of each reconstruction, in scaled units, shape (B,)."""
        scaled: Tensor = self.scaling(x)
        decoded = self._decode_scaled(self.latent(self.encoder(scaled)))
        return (scaled - decoded).square().flatten(1).mean(dim=1)

    def load_halves(self, state: Mapping[str, Tensor], *, assign: bool = False) -> None:
        """Loads the weights of both registered halves.

        The submodules that only training needs keep their initial weights.

        Args:
            state: The weights by name.
            assign: Whether the given tensors become the weights themselves instead of being copied.

        Raises:
            RuntimeError: If weights are missing, unexpected or of another shape.
        """
        drawn = self.state_dict()
        training_only = {
            name: drawn[name] for name in drawn if name.partition(".")[0] in self.TRAINING_PARTS
        }
        self.load_state_dict({**training_only, **state}, assign=assign)

    def _decode_scaled(self, z: Tensor) -> Tensor:
        return self.reconstruction.activate(self.decoder(z))

    def metrics(self, x: Tensor) -> dict[str, float]:
        """Measures how well the module reconstructs scaled held-out rows (N, *row_shape).

        Returns:
            `explained_variance` (the fraction of the rows' variance that is reconstructed), for
            images also `psnr_db` and `ssim`, and the metrics of `own_metrics`.
        """
        reconstruction = self._decode_scaled(self.latent(self.encoder(x)))
        residual = (x - reconstruction).square().sum()
        spread = (x - x.mean(dim=0)).square().sum()
        found = {"explained_variance": float(1 - residual / spread)}
        if self.plan.kind is DataKind.IMAGES:
            found["psnr_db"] = peak_signal_to_noise_ratio(reconstruction, x)
            found["ssim"] = float(ssim(reconstruction, x).mean())
        return {**found, **self.own_metrics(x)}
