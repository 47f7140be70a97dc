"""The LightningModule that every variant is: two halves, scaling, calibration and one loss.

Shapes: x_B... is a batch of rows (B, *row_shape); z_BD a batch of latents (B, latent_dim).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, ClassVar

from torch import Tensor

from isthmus import nets
from isthmus.core.calibration import Calibration
from isthmus.core.learning_rate import Schedule
from isthmus.core.lightning import LossOutput, TrainedByLightning
from isthmus.core.reconstruction import Reconstruction
from isthmus.core.scaling import Scaling
from isthmus.core.similarity import peak_signal_to_noise_ratio, ssim
from isthmus.spec import ModelPlan, SpecModel
from isthmus.types import DataKind, ReconstructionLoss, Shape

PlanLike = ModelPlan | Mapping[str, Any]
"""A plan, or the plain values that a checkpoint holds of one."""

# `latent_dim: auto` is a quarter of the row, within these.
_LATENT_SHARE = 4
_LATENT_RANGE = (2, 32)


class Autoencoder(TrainedByLightning):
    """An encoder and a decoder that are trained together and used apart.

    A variant defines `loss`, and where its latent is not simply the encoder's output, `latent`.
    `encode`, `decode`, `reconstruct` and `score` take and give data units; `loss` works on rows
    that are scaled already, because training scales all rows once and not at every step.

    `loss` is called in training and, with `self.training` false, on validation rows: there it
    must be what is wanted at the end (no annealed weights), for the best epoch has the lowest.
    """

    class Config(SpecModel):
        """A variant's own options, as they stand beside its name in the job file."""

    SUMMARY: ClassVar[str] = ""
    """One line: what it is, and when to pick it."""
    ENCODER_OUTPUTS_PER_LATENT: ClassVar[int] = 1
    """Numbers the encoder emits for one of the latent's: 2 for a mean and a variance."""
    ENCODER_PARTS: ClassVar[tuple[str, ...]] = ("scaling", "encoder")
    """Submodules that `encode` needs: what the registered encoder holds."""
    DECODER_PARTS: ClassVar[tuple[str, ...]] = (
        "scaling",
        "decoder",
        "reconstruction",
        "calibration",
    )
    """Submodules that `decode` needs, and those of `score`: what the registered decoder holds."""
    TRAINING_PARTS: ClassVar[tuple[str, ...]] = ()
    """Submodules that only training needs (a discriminator): in no half, and not registered."""
    KINDS: ClassVar[tuple[DataKind, ...]] = tuple(DataKind)
    """The kinds of data that it takes."""
    VIEWS: ClassVar[int] = 1
    """Measurements of each row that it trains on; 2 makes `loss` take (B, 2, *row_shape)."""
    TAKES_SKIPS: ClassVar[bool] = False
    """Whether it goes with nets whose skip connections let the row through: it must then be
    asked for something else than its input, or it learns to copy."""
    AUTO_LOSS: ClassVar[ReconstructionLoss] = ReconstructionLoss.MSE
    """What `reconstruction: auto` is. Where the term is a likelihood beside a KL term, a variance
    that is learned spares the user a weight (Rybkin et al. 2021, arXiv:2006.13202)."""
    NEEDS_ELEMENTWISE_LOSS: ClassVar[bool] = False
    """Whether it weighs the error of single numbers, which SSIM and spectral losses have not."""

    CUDA_GRAPH_SAFE: ClassVar[bool] = False
    """Whether training does the same at each step but for the numbers in its tensors, and never
    waits to look at them, so that a GPU can record a step once and replay it. A Python number or
    branch that changes from step to step would be replayed as it was; `warm_up` does not."""

    options: SpecModel
    """The variant's `Config`, as the plan has it."""

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
        """Draws the weights from torch's global generator.

        All arguments are hyperparameters: `load_from_checkpoint` builds the module from them.

        Args:
            plan: What to build; kept as `self.plan`.
            learning_rate: The step size of AdamW.
            schedule: How the learning rate falls over the epochs, after the warm-up.
            warm_up_epochs: Epochs, or a part of one, over which the learning rate rises from 0.
            final_learning_rate_share: What a falling schedule leaves of the learning rate.
            weight_decay: AdamW's decoupled weight decay.
            gradient_clip_norm: The L2 norm that gradients are scaled down to; none by default.
        """
        super().__init__()
        plan = plan if isinstance(plan, ModelPlan) else ModelPlan.model_validate(dict(plan))
        # Plain values: a checkpoint that holds nothing else is read without running code.
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
        self.calibration = Calibration()

    # -- what a variant says --------------------------------------------------------------------

    @abstractmethod
    def loss(self, x: Tensor) -> LossOutput:
        """The loss of a batch of scaled rows, shape (B, *row_shape)."""

    def latent(self, encoded: Tensor) -> Tensor:
        """The encoder's output (B, latent_dim * k) as the latent (B, latent_dim) that is used."""
        return encoded

    @classmethod
    def auto_latent_dim(cls, row_shape: Shape) -> int:
        """What `latent_dim: auto` is: a quarter of the numbers in a row, between 2 and 32."""
        lowest, highest = _LATENT_RANGE
        return min(max(prod(row_shape) // _LATENT_SHARE, lowest), highest)

    @property
    def code_size(self) -> int:
        """Numbers of a latent that carry the row: what PCA is compared at."""
        return self.plan.latent_dim

    @classmethod
    def refusal(cls, plan: ModelPlan) -> str | None:
        """Why this variant cannot work on such a plan, and what can; `None` if it can."""
        return None

    def own_metrics(self, x: Tensor) -> dict[str, float]:
        """Figures that this variant's field reports, on held-out scaled rows (N, *row_shape).

        Args:
            x: Scaled rows.
        """
        return {}

    def noised(self, x: Tensor) -> Tensor | None:
        """Scaled rows with the noise that the variant learns to take away; `None` if it is not
        there to take noise away, or never saw a row without."""
        return None

    # -- what a variant is given ----------------------------------------------------------------

    def reconstruction_term(self, output: Tensor, target: Tensor) -> Tensor:
        """Shape (): the plan's reconstruction loss, summed over a row, averaged over the batch."""
        return self.reconstruction.mean(output, target)

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
        """How unusual each row is: its reconstruction error, where a variant knows no better.

        Returns:
            Shape (B,); higher is more unusual.
        """
        return self.reconstruction_error(x)

    def exportable_score(self) -> Callable[[Tensor], Tensor]:
        """`score`, of operations that ONNX has; of weights that change no more, on the CPU."""
        return self.score

    def reconstruction_error(self, x: Tensor) -> Tensor:
        """The mean squared error of each row's reconstruction, scaled units, shape (B,)."""
        scaled: Tensor = self.scaling(x)
        decoded = self._decode_scaled(self.latent(self.encoder(scaled)))
        return (scaled - decoded).square().flatten(1).mean(dim=1)

    def load_halves(self, state: Mapping[str, Tensor], *, assign: bool = False) -> None:
        """Takes the weights of both registered halves; what only training needs stays as drawn.

        Args:
            state: By name.
            assign: The tensors themselves become the weights, and are not copied.

        Raises:
            RuntimeError: If weights are missing, left over, or of another shape.
        """
        drawn = self.state_dict()
        training_only = {
            name: drawn[name] for name in drawn if name.partition(".")[0] in self.TRAINING_PARTS
        }
        self.load_state_dict({**training_only, **state}, assign=assign)

    def _decode_scaled(self, z: Tensor) -> Tensor:
        return self.reconstruction.activate(self.decoder(z))

    def metrics(self, x: Tensor) -> dict[str, float]:
        """How well it reconstructs held-out scaled rows (N, *row_shape), and its own figures.

        Returns:
            `explained_variance` (the share of the rows' variance that is kept); for images
            `psnr_db` and `ssim`; and what `own_metrics` gives.
        """
        reconstruction = self._decode_scaled(self.latent(self.encoder(x)))
        residual = (x - reconstruction).square().sum()
        spread = (x - x.mean(dim=0)).square().sum()
        found = {"explained_variance": float(1 - residual / spread)}
        if self.plan.kind is DataKind.IMAGES:
            found["psnr_db"] = peak_signal_to_noise_ratio(reconstruction, x)
            found["ssim"] = float(ssim(reconstruction, x).mean())
        return {**found, **self.own_metrics(x)}
