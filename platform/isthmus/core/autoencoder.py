"""The LightningModule that every variant is: two halves, scaling, calibration and one loss.

Shapes: x_B... is a batch of rows (B, *row_shape); z_BD a batch of latents (B, latent_dim).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, prod
from typing import Any, ClassVar, Literal, Protocol

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerConfig, OptimizerLRSchedulerConfig
from torch import Tensor, nn

from isthmus.core.calibration import Calibration
from isthmus.core.lean_adamw import LeanAdamW
from isthmus.core.learning_rate import learning_rate_schedule
from isthmus.core.loss_sums import LossSums
from isthmus.core.reconstruction import Reconstruction
from isthmus.core.scaling import Scaling
from isthmus.core.similarity import peak_signal_to_noise_ratio, ssim
from isthmus.overwriting import may_overwrite
from isthmus.spec import ModelPlan, SpecModel, TrainingSpec
from isthmus.types import DataKind, ReconstructionLoss, Shape

Stage = Literal["train", "validation"]

# `latent_dim: auto` is a quarter of the row, within these.
_LATENT_SHARE = 4
_LATENT_RANGE = (2, 32)
# Adam moves a number by the learning rate at each step, and a log variance has to go further than
# a weight: while it is behind, the reconstruction weighs too little, and the posterior collapses.
# On digits the evidence lower bound rose from -1 to 65 nats.
_LOG_VARIANCE_GAIN = 10.0


@dataclass(frozen=True)
class LossOutput:
    """What a variant minimises, and what it is made of.

    Attributes:
        total: Shape (). The loss, averaged over the batch.
        parts: Named terms of it, each of shape (), averaged over the batch, before weights.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    def means(self) -> dict[str, Tensor]:
        """All of it by name: `loss`, and the parts."""
        return {"loss": self.total, **self.parts}


@dataclass
class StepCount:
    """How far training is; no attribute of a module itself, for to set those takes long.

    Attributes:
        steps: Of the optimizer, taken so far; a tensor where steps may be recorded.
    """

    steps: int | Tensor = 0


class Autoencoder(LightningModule, ABC):
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
        self.reconstruction = Reconstruction(plan.reconstruction, plan.row_shape)
        self.scaling = Scaling(plan.row_shape)
        self.calibration = Calibration()
        self.training_rows = 0
        self.progress = StepCount()
        self._training: TrainingSpec | None = None
        self._sums: dict[Stage, LossSums] = {"train": LossSums(), "validation": LossSums()}

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

    def warm_up(self, epochs: float) -> float | Tensor:
        """The share of the first `epochs` epochs, or of half the job's if those are fewer, that
        training has been through.

        Returns:
            In (0, 1], rising linearly with the optimizer's steps; 1 outside training, where a
            loss must be what is wanted at the end. Of shape () where steps are recorded, for a
            recording holds tensors and no numbers.
        """
        if not self.training or epochs <= 0:
            return 1.0
        # A short job shall not end before what it is trained for has begun.
        epochs = min(epochs, self._options().epochs / 2)
        steps = self.global_step if self.automatic_optimization else self.progress.steps
        share = (steps + 1) / (epochs * self._steps_per_epoch())
        return share.clamp(max=1.0) if isinstance(share, Tensor) else min(1.0, share)

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
        if may_overwrite():
            return scaled.sub_(decoded).square_().flatten(1).mean(dim=1)
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

    # -- Lightning ------------------------------------------------------------------------------

    def configure_training(self, training: TrainingSpec, rows: int) -> None:
        """Takes the job's training options and the training rows' number; before `Trainer.fit`."""
        self._training = training
        self.training_rows = rows

    def configure_optimizers(self) -> OptimizerConfig | OptimizerLRSchedulerConfig:
        """AdamW, one kernel for all parameters; and its learning rate, step by step."""
        training = self._options()
        optimizer = LeanAdamW(
            self._parameter_groups(training),
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
        )
        if training.schedule == "constant" and not training.warm_up_epochs:
            return {"optimizer": optimizer}  # nothing to do at each step
        schedule = learning_rate_schedule(optimizer, training, self._steps_per_epoch())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _parameter_groups(self, training: TrainingSpec) -> list[dict[str, Any]]:
        """All parameters; those of the reconstruction loss in a group of their own."""
        of_loss = list(self.reconstruction.parameters())
        others = [each for each in self.parameters() if all(each is not own for own in of_loss)]
        groups: list[dict[str, Any]] = [{"params": others}]
        if of_loss:
            groups.append(
                {
                    "params": of_loss,
                    "lr": _LOG_VARIANCE_GAIN * training.learning_rate,
                    "weight_decay": 0.0,
                }
            )
        return groups

    def _options(self) -> TrainingSpec:
        if self._training is None:
            raise RuntimeError("configure_training() was not called before fit()")
        return self._training

    def _steps_per_epoch(self) -> int:
        """Steps of the optimizer in one pass over the training rows."""
        return max(1, ceil(self.training_rows / self._options().rows_per_step))

    def training_step(self, batch: Tensor | Steps, batch_idx: int) -> Tensor | None:
        """One step on scaled rows; under manual optimisation, the steps that the batch takes."""
        if isinstance(batch, Tensor):
            return self.step_loss(batch)
        batch(self)
        return None

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """The loss of held-out rows."""
        self._sums["validation"].add(self.loss(batch).means(), len(batch))

    def step_loss(self, rows: Tensor) -> Tensor:
        """The loss to take gradients of, shape (), of scaled rows; it and its parts are summed."""
        output = self.loss(rows)
        self._sums["train"].add(output.means(), len(rows))
        return output.total

    def pop_sums(self, stage: Stage) -> dict[str, Tensor]:
        """The stage's sums of loss parts over rows, and `rows`; starts counting anew."""
        return self._sums[stage].pop()

    def optimizer_zero_grad(self, *args: Any, **kwargs: Any) -> None:
        """Frees gradients instead of filling them with zeros."""
        optimizer: torch.optim.Optimizer = args[2]
        optimizer.zero_grad(set_to_none=True)


class Steps(Protocol):
    """Takes optimizer steps of its own."""

    def __call__(self, module: Autoencoder) -> None: ...
