"""The LightningModule around an autoencoder: its steps, its optimizer and its logged losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from isthmus import variants
from isthmus.core import Autoencoder, LossOutput, PlanLike, Scaling
from isthmus.errors import TrainingError
from isthmus.modules.learning_rate import Schedule, learning_rate_schedule
from isthmus.modules.state_names import names_in_module
from isthmus.modules.trainer_clock import TrainerClock
from isthmus.spec import ModelPlan

Stage = Literal["train", "validation", "test"]
# The learning rate of log variances, relative to that of weights. Adam moves every parameter by
# about the learning rate at each step, and a log variance has to move further than a weight. While
# it lags behind, the reconstruction loss has too little weight, and the posterior collapses. On
# digits this factor raised the evidence lower bound from -1 to 65 nats.
_LOG_VARIANCE_GAIN = 10.0


class StepGroup(ABC):
    """A batch that stands for several optimizer steps and takes them itself."""

    @abstractmethod
    def take(self, module: AutoencoderModule) -> None:
        """Takes the steps and logs their losses."""


class AutoencoderModule(LightningModule):
    """A LightningModule that any Trainer can train, validate, test and predict with.

    Attributes:
        autoencoder: The variant, which has `loss` and everything that a trained autoencoder does.
        clock: The clock of the training, which the loss may ask.
    """

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
        """Builds the autoencoder and draws its weights from torch's global generator.

        All arguments are hyperparameters: `load_from_checkpoint` builds the module from them.

        Args:
            plan: The plan of the model.
            learning_rate: AdamW's learning rate.
            schedule: The decay of the learning rate over the epochs after the warm-up.
            warm_up_epochs: The number of epochs over which the learning rate rises from 0. It may
                be fractional.
            final_learning_rate_share: The fraction of the learning rate at which a decaying
                schedule ends.
            weight_decay: AdamW's decoupled weight decay.
            gradient_clip_norm: The largest L2 norm of the gradients, to which larger ones are
                clipped. By default gradients are not clipped.

        Raises:
            TrainingError: If the variant defines what Lightning calls of a LightningModule alone.
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
        _refuse_hooks(variants.get(plan.variant.name))
        self.autoencoder = variants.build(plan)
        self.autoencoder.clock = self.clock = TrainerClock(self)
        self.weight_of: Callable[[int, int], float] | None = None

    # -- what the autoencoder does --------------------------------------------------------------

    @property
    def plan(self) -> ModelPlan:
        """The plan of the autoencoder."""
        return self.autoencoder.plan

    @property
    def scaling(self) -> Scaling:
        """The scaling between data units and the rows that the loss sees."""
        return self.autoencoder.scaling

    def loss(self, x: Tensor) -> LossOutput:
        """Computes the loss of a batch of scaled rows, shape (B, *row_shape)."""
        return self.autoencoder.loss(x)

    def encode(self, x: Tensor) -> Tensor:
        """Encodes rows of shape (B, *row_shape) as latents of shape (B, latent_dim)."""
        return self.autoencoder.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Decodes latents of shape (B, latent_dim) to rows of shape (B, *row_shape)."""
        return self.autoencoder.decode(z)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encodes and decodes rows. The result has their shape and units."""
        return self.autoencoder.reconstruct(x)

    def forward(self, x: Tensor) -> Tensor:
        """Calls `reconstruct`."""
        return self.reconstruct(x)

    def score(self, x: Tensor) -> Tensor:
        """Computes how unusual each row is, shape (B,); a higher score is a more unusual row."""
        return self.autoencoder.score(x)

    # -- what the Trainer calls -----------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Prepares the clock for another fit."""
        self.clock.restart()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lets checkpoints of earlier versions be read, which name the weights otherwise."""
        # The second is what Lightning's averaging of weights keeps the trained ones under.
        for key in checkpoint.keys() & {"state_dict", "current_model_state"}:
            checkpoint[key] = names_in_module(checkpoint[key])

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor] | None:
        """Computes the training loss of a batch, and logs it.

        Args:
            batch: Scaled rows, shape (B, *row_shape); a sequence whose first element they are, as
                `TensorDataset` yields it; or a `StepGroup`, which takes its own steps.
            batch_idx: The index of the batch within the epoch.

        Returns:
            The loss and its parts, each of shape (), or `None` for a `StepGroup`.
        """
        if isinstance(batch, StepGroup):
            batch.take(self)
            return None
        rows = rows_of(batch)
        means = self.training_loss(rows).means()
        self.log_losses("train", means, len(rows))
        weight = self.weight_of(batch_idx, len(rows)) if self.weight_of else 1.0
        return means if weight == 1.0 else {**means, "loss": means["loss"] * weight}

    def training_loss(self, rows: Tensor) -> LossOutput:
        """Returns the loss of a batch; under manual optimisation it also takes the step."""
        return self.autoencoder.loss(rows)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the losses of validation rows, in the formats that `training_step` accepts."""
        self._evaluate("validation", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the losses of test rows, in the formats that `training_step` accepts."""
        self._evaluate("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Reconstructs rows in data units, shape (B, *row_shape)."""
        return self.reconstruct(rows_of(batch))

    def log_losses(self, stage: Stage, means: Mapping[str, Tensor], rows: int) -> None:
        """Logs losses as `train/loss`, `validation/kl`, ..., averaged over all rows of the epoch.

        Args:
            stage: The stage that the losses are from.
            means: The losses by name, each of shape (), averaged over the rows.
            rows: The number of rows that they are averaged over.
        """
        self.log_dict(
            {f"{stage}/{name}": value for name, value in means.items()},
            # Lightning averages this over workers; an integer would lose the fractional part.
            batch_size=float(rows),  # type: ignore[arg-type]
            on_step=False,
            on_epoch=True,
            sync_dist=True,
        )

    def _evaluate(self, stage: Stage, batch: Any) -> None:
        rows = rows_of(batch)
        if torch.is_inference_mode_enabled():
            # Some losses compute gradients, which tensors created in this mode do not support.
            with torch.inference_mode(False), torch.no_grad():
                self._evaluate(stage, rows.clone())
            return
        if len(rows):
            self.log_losses(stage, self.autoencoder.loss(rows).means(), len(rows))
            return
        # A worker without rows must still take part in the all-reduce operations.
        means = self.autoencoder.loss(rows.new_zeros(2, *rows.shape[1:])).means()
        self.log_losses(stage, {name: torch.zeros_like(value) for name, value in means.items()}, 0)

    def configure_optimizers(self) -> Any:
        """Returns a fused AdamW and its learning-rate schedule, which is updated at every step."""
        return self._optimizer_of(self.parameters())

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips gradients by the Trainer's setting or, if it has none, by `gradient_clip_norm`."""
        norm = self.hparams["gradient_clip_norm"]
        if gradient_clip_val is not None or norm is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        # FSDP shards the gradients, and only its wrapper can compute their total norm.
        clip = getattr(self.trainer.model, "clip_grad_norm_", None)
        if clip is not None:
            clip(norm)
        else:
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, norm)

    def _optimizer_of(self, parameters: Iterable[nn.Parameter]) -> dict[str, Any]:
        """Returns an optimizer of the parameters and its schedule, as Lightning expects them."""
        hparams = self.hparams
        optimizer = torch.optim.AdamW(
            self._parameter_groups(list(parameters)),
            lr=hparams["learning_rate"],
            weight_decay=hparams["weight_decay"],
            fused=True,
        )
        if hparams["schedule"] == "constant" and not hparams["warm_up_epochs"]:
            return {"optimizer": optimizer}  # the learning rate never changes
        scheduler = learning_rate_schedule(
            optimizer,
            schedule=hparams["schedule"],
            warm_up_steps=hparams["warm_up_epochs"] * self.clock.steps_per_epoch,
            steps=self.clock.total_steps,
            final_share=hparams["final_learning_rate_share"],
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def settle_learning_rate(self, steps: int) -> None:
        """Sets the learning rates that the schedule has after so many steps.

        A resumed run needs it if it now has a schedule and had none, or the other way round: the
        checkpoint then says nothing about the one, or has left the learning rate low.
        """
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.get("initial_lr", group["lr"])
        for config in self.trainer.lr_scheduler_configs:
            scheduler: Any = config.scheduler
            scheduler.last_epoch = steps
            groups = scheduler.optimizer.param_groups
            parts = zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            for group, rate, factor in parts:
                group["lr"] = rate * factor(steps)

    def _parameter_groups(self, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
        """Returns the parameters in groups; the reconstruction loss has its own group."""
        of_loss = {id(each) for each in self.autoencoder.reconstruction.parameters()}
        own = [each for each in parameters if id(each) in of_loss]
        groups: list[dict[str, Any]] = [
            {"params": [each for each in parameters if id(each) not in of_loss]}
        ]
        if own:
            rate = _LOG_VARIANCE_GAIN * self.hparams["learning_rate"]
            groups.append({"params": own, "lr": rate, "weight_decay": 0.0})
        return groups


def _refuse_hooks(variant: type[Autoencoder]) -> None:
    """Refuses a variant with methods that its author expects Lightning to call."""
    of_lightning = {
        name
        for name in dir(LightningModule)
        if name.startswith(("on_", "configure_")) or name.endswith(("_step", "_dataloader"))
    }
    found = sorted(of_lightning & set(dir(variant)))
    if found:
        raise TrainingError(
            f"{variant.__name__} defines {', '.join(found)}, which Lightning would never call: a "
            "variant is no LightningModule; use a callback, or a module of your own that holds it"
        )


def rows_of(batch: Any) -> Tensor:
    """Returns the rows of a batch, which may be a sequence whose first element they are."""
    rows: Tensor = batch[0] if isinstance(batch, list | tuple) else batch
    return rows
