"""Defines the fields of a job file as frozen models; most fields have a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_serializer,
    model_validator,
)

from isthmus.spec.data import DataSpec
from isthmus.spec.model import SpecModel
from isthmus.spec.names import JOB_NAME
from isthmus.spec.promotion import PromotionSpec
from isthmus.spec.size import SizeName
from isthmus.spec.start import StartSpec
from isthmus.spec.tuning import TuningSpec
from isthmus.types import ReconstructionLoss


class PluginSpec(BaseModel):
    """A variant or a net by name, with its own options beside the name.

    A job file writes it as `vae` or as `{name: vae, beta: 4}`. The options are checked against the
    `Config` of the variant or net of that name when the job file is read.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    options: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_name_or_mapping(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping):
            if not isinstance(value.get("name"), str):
                raise ValueError("needs a name, as in {name: vae, beta: 4}")
            if isinstance(value.get("options"), Mapping):
                return value  # the caller gave `name` and `options` by keyword
            options = {key: option for key, option in value.items() if key != "name"}
            return {"name": value["name"], "options": options}
        if isinstance(value, PluginSpec):
            return value
        raise ValueError("needs a name, or a mapping with a name, as in {name: vae, beta: 4}")

    @model_serializer
    def _as_in_the_file(self) -> dict[str, Any]:
        return {"name": self.name, **self.options}


class EarlyStoppingSpec(SpecModel):
    """The `training.early_stopping` section: when training stops before the last epoch."""

    patience: int = Field(default=10, ge=1)
    """The number of epochs without improvement of the validation loss before training stops."""
    min_delta: float = Field(default=0.0, ge=0.0)
    """The smallest decrease of the validation loss that counts, as a fraction of the best loss."""


class WorkerRange(SpecModel):
    """The number of workers that may train on a cluster whose size changes."""

    min: int = Field(ge=1, le=4096)
    """The smallest number of workers. Training waits until the cluster has this many."""
    max: int = Field(ge=1, le=4096)
    """The largest number of workers."""

    @model_validator(mode="after")
    def _is_a_range(self) -> WorkerRange:
        if self.min > self.max:
            raise ValueError(f"min={self.min} is above max={self.max}; exchange them")
        return self


class TrainingSpec(SpecModel):
    """The `training` section: the options of the optimizer, of the workers and of the hardware."""

    epochs: int = Field(default=100, ge=1, le=100_000)
    """The number of passes over the training rows. By default it is more for few rows, so that
    there are about 1,500 steps."""
    global_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 128
    """The number of rows in one optimizer step, over all workers together. `auto` is the power of
    two that leaves 32 steps in an epoch, between 32 and 4096, or less if memory holds less. By
    default fewer than 2,048 rows have smaller batches, down to 4 rows."""
    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    """The step size of the optimizer."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """The decay of the learning rate over the epochs, after the warm-up."""
    warm_up_epochs: float = Field(default=0.0, ge=0.0)
    """The number of epochs over which the learning rate rises from 0. It may be fractional."""
    final_learning_rate_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """The fraction of the learning rate at which `cosine` and `linear` end."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    """AdamW's decoupled weight decay."""
    gradient_clip_norm: float | None = Field(default=None, gt=0.0)
    """The largest L2 norm of the gradients, to which larger ones are scaled down. By default
    gradients are not clipped."""
    accumulate_batches: int = Field(default=1, ge=1)
    """The number of parts that a step's rows are divided into, for GPUs whose memory does not hold
    them at once. The parts are computed one after another, and their gradients are averaged."""
    weight_average_decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    """The decay of an exponential moving average of the weights, such as 0.999. The averaged
    weights are validated and registered. By default there is no average."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The precision of a step's arithmetic; weights and losses stay float32. `auto` is bfloat16 on
    a GPU that supports it, else float32."""
    cuda_graphs: bool = Field(
        default=True, validation_alias=AliasChoices("cuda_graphs", "record_steps")
    )
    """Whether one worker on a GPU records a step as a CUDA graph and replays it, if the variant's
    steps allow it. Job files once called this field `record_steps`."""
    workers: Annotated[int, Field(ge=1, le=4096)] | WorkerRange = 1
    """The number of processes that share each batch, each on a GPU if there are that many. With a
    range, as in `{min: 2, max: 8}`, training uses as many as the cluster has, and grows and shrinks
    with it."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """The way in which several workers train together. With `ddp` each holds the whole model, and
    the gradients are averaged. With `fsdp`, which needs GPUs and is for models that one GPU cannot
    hold, each worker holds a share of weights, gradients and optimizer state, and writes its share
    of a checkpoint. `auto` is ddp for several workers."""
    comm_hook: Literal["auto", "none", "bf16", "powersgd", "post_local_sgd"] = "auto"
    """The way in which ddp exchanges gradients. `bf16` halves their size. `powersgd` sends factors
    of low rank. `post_local_sgd`, for slow networks, lets workers step alone and averages their
    weights every few steps; it excludes `weight_average_decay`. All three change the result a
    little. With the last two a checkpoint holds the state of every worker, and a run that is
    resumed with another number of workers begins with a new state. `none` sends the gradients
    unchanged, and so does `auto`, through shared memory if all workers are on CPUs of one
    machine."""
    trainer: Mapping[str, Any] = Field(default_factory=dict)
    """Further arguments of Lightning's Trainer, as in `{detect_anomaly: true}`. Arguments that
    other fields set are refused."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """The device to train on. `auto` is a GPU for each worker if the cluster has or can start that
    many, else the CPU. `gpu` requests GPUs and waits for nodes to join, for as many seconds as the
    environment variable `ISTHMUS_NODES_TIMEOUT_S` says (by default 900)."""
    threads_per_worker: int | None = Field(default=None, ge=1)
    """The number of CPU threads of a worker. By default it is `OMP_NUM_THREADS`, or the CPUs that
    the process may use divided by the workers, and never more than a step can keep busy."""
    ensemble: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = "auto"
    """The number of autoencoders whose anomaly scores are averaged. They are trained one after
    another from different seeds and are stored as one pair, whose encoder and decoder are those of
    the first. `auto` is 1, or 6 where so few rows are there that none can be spared for the
    calibration: the first learns from all training rows, and each of the others from four fifths,
    so that the last fifth tells how unseen normal rows score."""
    start_from: StartSpec | None = None
    """The registered pair whose weights training starts with, as in `digits@champion`, for fewer
    epochs on newer rows. Variant, net, sizes, loss and columns must be the pair's. Its scaling is
    taken over too, because weights are right only for the scaling that they were trained with, and
    so are a variant's codebooks, centres and pseudo-inputs. The optimizer's state, the schedule of
    the learning rate and what only training needs, such as a discriminator, begin anew; the
    warm-ups of a variant's own terms are left out. By default training starts from random
    weights."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """The seed of the split, the weights, the order of rows and the noise."""
    early_stopping: EarlyStoppingSpec | None = EarlyStoppingSpec()
    """The rule by which training stops before the last epoch. With `null` it trains all epochs."""
    checkpoint_interval_s: float = Field(default=30.0, ge=0.0)
    """The time between checkpoints in seconds, and so about the most work that is lost when a
    worker dies. 0 saves about twice a second. Where Ray Data reads the rows, checkpoints are
    saved between epochs only."""
    max_failures: int = Field(default=2, ge=0)
    """The number of times that a lost worker is replaced before the run fails."""

    @field_validator("start_from", mode="before")
    @classmethod
    def _start_may_be_a_name(cls, value: object) -> object:
        return {"model": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _warm_up_ends(self) -> TrainingSpec:
        if self.warm_up_epochs > self.epochs:
            raise ValueError(
                f"warm_up_epochs={self.warm_up_epochs:g} is above epochs={self.epochs}; lower it"
            )
        return self

    @model_validator(mode="after")
    def _batch_divides_among_workers(self) -> TrainingSpec:
        batch, parts = self.global_batch_size, self.most_workers * self.accumulate_batches
        if not isinstance(self.workers, int):
            if batch != "auto" and batch < parts:
                raise ValueError(
                    f"global_batch_size={batch} has no row for each of workers.max="
                    f"{self.workers.max}; use {parts} or more"
                )
        elif batch != "auto" and batch % parts:
            below = batch - batch % parts
            choices = f"{below} or {below + parts}" if below else f"{parts}"
            by = f"workers={self.workers}"
            if self.accumulate_batches > 1:
                by += f" times accumulate_batches={self.accumulate_batches}"
            raise ValueError(f"global_batch_size={batch} is not divisible by {by}; use {choices}")
        return self

    @model_validator(mode="after")
    def _clips_what_it_can(self) -> TrainingSpec:
        if self.precision == "float16" and self.gradient_clip_norm is not None:
            raise ValueError(
                "precision=float16 scales its gradients, which gradient_clip_norm cannot clip; use "
                "precision: bfloat16, or leave gradient_clip_norm out"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _knows_local_steps_no_more(cls, value: object) -> object:
        if not isinstance(value, Mapping) or "local_steps" not in value:
            return value
        if value["local_steps"] != 1:
            raise ValueError(
                "local_steps is now comm_hook: post_local_sgd, which averages the workers' weights "
                "every few steps; use that, or leave local_steps out"
            )
        return {name: each for name, each in value.items() if name != "local_steps"}

    @model_validator(mode="after")
    def _shards_what_can_be_sharded(self) -> TrainingSpec:
        if self.comm_hook == "post_local_sgd" and self.weight_average_decay is not None:
            raise ValueError(
                "comm_hook=post_local_sgd does not go with weight_average_decay="
                f"{self.weight_average_decay}: workers would average other weights; leave out one"
            )
        if self.strategy == "fsdp":
            for field, unset in (
                ("weight_average_decay", None),
                ("comm_hook", "auto"),
            ):
                if getattr(self, field) != unset:
                    raise ValueError(
                        f"strategy=fsdp does not go with {field}={getattr(self, field)}; leave out "
                        f"{field}, or use strategy: ddp"
                    )
            if self.device == "cpu":
                raise ValueError("strategy=fsdp needs GPUs; use strategy: ddp, or device: gpu")
        return self

    @property
    def most_workers(self) -> int:
        """The largest number of workers that may train."""
        return self.workers if isinstance(self.workers, int) else self.workers.max

    @property
    def fewest_workers(self) -> int:
        """The number of workers that training begins with at least."""
        return self.workers if isinstance(self.workers, int) else self.workers.min

    @property
    def rows_per_step(self) -> int:
        """`global_batch_size` as a number, which training has made of `auto` when it begins."""
        if self.global_batch_size == "auto":
            raise ValueError("global_batch_size is not settled yet")
        return self.global_batch_size


class JobSpec(SpecModel):
    """A whole job file, which `isthmus train` reads."""

    name: str = Field(pattern=JOB_NAME)
    """The pair's name; it registers NAME-encoder and NAME-decoder. Letters, digits, `_` and `-`, at
    most 100: MLflow refuses a dot."""
    description: str = ""
    """A line for people, which is shown with the model."""
    data: DataSpec
    """The data section: where the rows are, and how they are split and scaled."""
    plugins: tuple[str, ...] = ()
    """Files with variants, nets, scores or corruptions of your own, which the job may name like
    built-in ones. Their paths are relative to the job file. They are run when the job is read."""
    size: SizeName = "medium"
    """One dial for the net's widths and depth, the latent size where it is `auto`, the epochs and
    the learning rate. `isthmus nets NAME` shows what it means for a net. Fields that the job says
    itself stand above it; `medium` is what they are by default."""
    variant: PluginSpec = PluginSpec(name="plain")
    """The training method, by name or with options. `isthmus variants` lists them."""
    net: PluginSpec = PluginSpec(name="auto")
    """The network, by name or with options. `auto` chooses by the kind of the data: dense, conv for
    images, and spectral_mask for sounds that a variant learns to take noise from; of images of any
    size it is drunet, or compressive where the variant compresses."""
    scoring: PluginSpec = PluginSpec(name="auto")
    """The anomaly score, by name or with options. `isthmus scores` lists them. `auto` chooses by
    the kind of the data: consensus for tables, else kernel_denoising. It is `own`, the variant's
    own score, where the variant defines one or `data.patch` is set, and `reconstruction` where a
    latent is as large as a row."""
    latent_dim: int | Literal["auto"] = "auto"
    """The number of values in one latent. `auto` is a quarter of the values in a row, between 2
    and 32."""
    reconstruction: ReconstructionLoss | Literal["auto"] = "auto"
    """The loss between a row and its reconstruction. `bce` and `ssim` need `data.scaling: minmax`.
    `auto` is mse, or gaussian_nll for variants whose objective is a likelihood, because there the
    scale of the error decides how much the latent may hold, or snr for `denoising` sounds, because
    by the squared error the loud ones would decide what is learned."""
    training: TrainingSpec = TrainingSpec()
    """The options of the optimizer, of the workers and of the hardware."""
    tuning: TuningSpec | None = None
    """The search of `isthmus tune`, which tries other values of the fields above."""
    promotion: PromotionSpec = PromotionSpec()
    """The bounds of the gate, which a version must pass before it becomes champion."""

    @field_validator("data", mode="before")
    @classmethod
    def _data_may_be_a_path(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("plugins", mode="before")
    @classmethod
    def _plugins_may_be_one_path(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("latent_dim")
    @classmethod
    def _latent_has_a_size(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 65_536:
            raise ValueError(f"{value} is out of range; use 1 to 65536, or auto")
        return value
