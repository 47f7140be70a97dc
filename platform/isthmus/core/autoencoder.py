"""The LightningModule that every variant is: two halves, scaling, calibration and one loss.

Shapes: x_B... is a batch of rows (B, *row_shape); z_BD a batch of latents (B, latent_dim).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil, inf, prod
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from isthmus import nets
from isthmus.core.calibration import Calibration
from isthmus.core.learning_rate import Schedule, learning_rate_schedule
from isthmus.core.reconstruction import Reconstruction
from isthmus.core.scaling import Scaling
from isthmus.core.similarity import peak_signal_to_noise_ratio, ssim
from isthmus.spec import ModelPlan, SpecModel
from isthmus.types import DataKind, ReconstructionLoss, Shape

Stage = Literal["train", "validation", "test"]
PlanLike = ModelPlan | Mapping[str, Any]
"""A plan, or the plain values that a checkpoint holds of one."""

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
        """Returns `loss` and the parts by name, without a part that is the loss itself."""
        parts = {name: part for name, part in self.parts.items() if part is not self.total}
        return {"loss": self.total, **parts}


class StepGroup(ABC):
    """A batch that stands for several optimizer steps, which it takes by itself."""

    @abstractmethod
    def take(self, module: Autoencoder) -> None:
        """Takes its steps and logs their losses."""


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
    epoch_length: tuple[int, int] | None = None
    """Optimizer steps and batches of an epoch, where the loader's length does not say them: the
    fast path of one process gives Lightning groups of steps."""
    graph_steps: Tensor | None = None
    """Steps taken, shape (), while steps are recorded in a CUDA graph."""

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
        self._found_length: tuple[int, int] | None = None

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
        """Returns the share of the first `epochs` epochs that training has been through.

        It is the share of half of all epochs if those are fewer.

        Returns:
            In (0, 1], rising linearly with the optimizer's steps; 1 outside training, where a
            loss must be what is wanted at the end. Of shape () where steps are recorded in a CUDA
            graph, for a graph holds tensors and no numbers.
        """
        trainer = self._trainer_if_any()
        if not self.training or epochs <= 0 or trainer is None:
            return 1.0
        if trainer.max_epochs and trainer.max_epochs > 0:
            # A short job must not end before what it is trained for has begun.
            epochs = min(epochs, trainer.max_epochs / 2)
        steps = self.global_step if self.graph_steps is None else self.graph_steps
        share = (steps + 1) / (epochs * self.steps_per_epoch)
        return share.clamp(max=1.0) if isinstance(share, Tensor) else min(1.0, share)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training rows; 1 without a trainer."""
        return self._length_of_epoch()[0]

    @property
    def batches_per_epoch(self) -> int:
        """Calls of `loss` in one pass over the training rows; 1 without a trainer."""
        return self._length_of_epoch()[1]

    @property
    def training_rows(self) -> int:
        """Rows that one pass trains on; 1 without a trainer, or if its loader has no `dataset`."""
        trainer = self._trainer_if_any()
        dataset = getattr(trainer and trainer.train_dataloader, "dataset", None)
        return 1 if dataset is None else len(dataset)

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

    # -- Lightning ------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor] | None:
        """Returns the loss of a batch and its parts, each of shape ().

        Args:
            batch: Scaled rows, shape (B, *row_shape), or a sequence that begins with them, as
                `TensorDataset` gives it; or a `StepGroup`, which takes steps of its own.
            batch_idx: The batch's number within the epoch.
        """
        if isinstance(batch, StepGroup):
            batch.take(self)
            return None
        rows = rows_of(batch)
        output = self.loss(rows)
        self.log_losses("train", output.means(), len(rows))
        return output.means()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the losses of held-out rows, given as in `training_step`."""
        self._evaluate("validation", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the losses of test rows, given as in `training_step`."""
        self._evaluate("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Returns the reconstruction of rows in data units, shape (B, *row_shape)."""
        return self.reconstruct(rows_of(batch))

    def log_losses(self, stage: Stage, means: Mapping[str, Tensor], rows: int) -> None:
        """Logs losses as `train/loss`, `validation/kl`, ..., averaged over all rows of the epoch.

        Args:
            stage: What the losses are of.
            means: The losses by name, each of shape (), averaged over the rows.
            rows: How many rows they are averaged over.
        """
        self.log_dict(
            {f"{stage}/{name}": value for name, value in means.items()},
            # Lightning averages this number over workers; as an integer it would lose the rest.
            batch_size=float(rows),  # type: ignore[arg-type]
            on_step=False,
            on_epoch=True,
            sync_dist=True,
        )

    def _evaluate(self, stage: Stage, batch: Any) -> None:
        rows = rows_of(batch)
        if torch.is_inference_mode_enabled():
            # Some losses take gradients, which tensors made in this mode have none of.
            with torch.inference_mode(False), torch.no_grad():
                self._evaluate(stage, rows.clone())
            return
        if len(rows):
            self.log_losses(stage, self.loss(rows).means(), len(rows))
            return
        # A worker without rows still takes part in the sums over all workers.
        means = self.loss(rows.new_zeros(2, *rows.shape[1:])).means()
        self.log_losses(stage, {name: torch.zeros_like(value) for name, value in means.items()}, 0)

    def configure_optimizers(self) -> Any:
        """Returns AdamW, one kernel for all parameters, and its learning rate, step by step."""
        return self._optimizer_of(self.parameters())

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by what the Trainer says, and else by `gradient_clip_norm`."""
        norm = self.hparams["gradient_clip_norm"]
        if gradient_clip_val is not None or norm is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        # Under FSDP only the wrapped module knows all of a gradient.
        clip = getattr(self.trainer.model, "clip_grad_norm_", None)
        if clip is not None:
            clip(norm)
        else:
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, norm)

    def _optimizer_of(self, parameters: Iterable[nn.Parameter]) -> dict[str, Any]:
        """Returns Lightning's description of an optimizer of some parameters and its schedule."""
        hparams = self.hparams
        optimizer = torch.optim.AdamW(
            self._parameter_groups(list(parameters)),
            lr=hparams["learning_rate"],
            weight_decay=hparams["weight_decay"],
            fused=True,
        )
        if hparams["schedule"] == "constant" and not hparams["warm_up_epochs"]:
            return {"optimizer": optimizer}  # nothing changes at a step
        epochs = self.trainer.max_epochs or -1
        scheduler = learning_rate_schedule(
            optimizer,
            schedule=hparams["schedule"],
            warm_up_steps=hparams["warm_up_epochs"] * self.steps_per_epoch,
            steps=epochs * self.steps_per_epoch if epochs > 0 else inf,
            final_share=hparams["final_learning_rate_share"],
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _parameter_groups(self, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
        """Returns the parameters; those of the reconstruction loss in a group of their own."""
        of_loss = {id(each) for each in self.reconstruction.parameters()}
        own = [each for each in parameters if id(each) in of_loss]
        groups: list[dict[str, Any]] = [
            {"params": [each for each in parameters if id(each) not in of_loss]}
        ]
        if own:
            rate = _LOG_VARIANCE_GAIN * self.hparams["learning_rate"]
            groups.append({"params": own, "lr": rate, "weight_decay": 0.0})
        return groups

    def _length_of_epoch(self) -> tuple[int, int]:
        """Returns the optimizer steps and the batches of an epoch."""
        if self.epoch_length is not None:
            return self.epoch_length
        trainer = self._trainer_if_any()
        if trainer is None:
            return 1, 1
        if self._found_length is None:
            total = trainer.estimated_stepping_batches  # asks the loader for its length
            steps = ceil(total / max(1, trainer.max_epochs or 1)) if 0 < total < inf else 1
            self._found_length = max(1, steps), max(1, steps) * trainer.accumulate_grad_batches
        return self._found_length

    def setup(self, stage: str) -> None:
        """Forgets the length of an earlier fit's epochs."""
        self._found_length = None

    def _trainer_if_any(self) -> Trainer | None:
        with suppress(RuntimeError):
            return self.trainer
        return None


def rows_of(batch: Any) -> Tensor:
    """Returns the rows of a batch, which may be a sequence that begins with them."""
    rows: Tensor = batch[0] if isinstance(batch, list | tuple) else batch
    return rows
