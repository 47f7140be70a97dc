"""What a job file may say: frozen models, with a default for everything that has a good one."""

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

from isthmus.spec.model import SpecModel
from isthmus.spec.promotion import PromotionSpec
from isthmus.spec.tuning import TuningSpec
from isthmus.types import DataKind, ReconstructionLoss, ScalingMode

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class PluginSpec(BaseModel):
    """A variant or a net by name, with its own options beside the name.

    `vae` and `{name: vae, beta: 4}` are both understood. The options are checked against the
    `Config` of the variant or net of that name, when the job file is read.
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
                return value  # made from Python, by keyword
            options = {key: option for key, option in value.items() if key != "name"}
            return {"name": value["name"], "options": options}
        if isinstance(value, PluginSpec):
            return value
        raise ValueError("needs a name, or a mapping with a name, as in {name: vae, beta: 4}")

    @model_serializer
    def _as_in_the_file(self) -> dict[str, Any]:
        return {"name": self.name, **self.options}


class DataSpec(SpecModel):
    """Where the rows come from and how they are split and scaled."""

    path: str = Field(min_length=1)
    """A file, a folder, `s3://bucket/key`, or a set that scikit-learn ships: `sklearn:digits`."""
    kind: DataKind | Literal["auto"] = "auto"
    """What a row is. `auto`: images for a folder of png or jpg, audio for wav or flac, series
    where `window` is given, images for an array of three or four axes, else tabular."""
    key: str | None = None
    """Which array of an npz holds the rows; by default `x`, `X`, `data`, or the only one."""
    columns: tuple[str, ...] | None = None
    """Columns of a csv or parquet to use, in this order; by default all that `exclude` leaves."""
    exclude: tuple[str, ...] = ()
    """Columns to leave out: identifiers, texts, timestamps."""
    categories: tuple[str, ...] | Mapping[str, tuple[str, ...]] = ()
    """Columns of a csv or parquet that hold categories, texts or codes: each value becomes a
    feature of its own, 0 or 1. A list of columns, or the values of each, `{size: [S, M, L]}`."""
    paired_path: str | None = Field(
        default=None, validation_alias=AliasChoices("paired_path", "second")
    )
    """A second file or folder of the same layout: other noisy measurements of the same rows, in
    the same order. `noise2noise` learns from both. Job files once called it `second`."""
    labels: str | None = None
    """Column (csv, parquet) or array (npz) with a label for each row. Never trained on."""
    keep_labels: tuple[int | str, ...] | None = None
    """Train only on rows with one of these labels: the normal rows, for anomaly detection."""
    missing: Literal["refuse", "mean", "drop"] = "refuse"
    """What to do with NaN: refuse the file, fill in the mean of the training rows (and do so
    again when the model is used), or drop the row."""
    scaling: ScalingMode | Literal["auto"] = "auto"
    """`auto`: minmax for images, none for audio, standard for tabular and series."""
    image_size: (
        tuple[Annotated[int, Field(ge=4, le=4096)], Annotated[int, Field(ge=4, le=4096)]] | None
    ) = None
    """Height and width in pixels that images are resized to. Needed if their sizes differ."""
    window: int | None = Field(default=None, ge=4, le=1_048_576)
    """Length of a window of a series (steps; by default 64) or of audio (samples; 1024)."""
    stride: int | None = Field(default=None, ge=1)
    """Steps from one window's start to the next; by default half a window."""
    validation_fraction: float = Field(default=0.1, gt=0.0, lt=0.9)
    """Share of the rows for early stopping and for calibrating scores."""
    test_fraction: float = Field(default=0.1, gt=0.0, lt=0.9)
    """Share of the rows that training never sees; champions and challengers meet on them."""
    keep_held_out: bool = True
    """Whether a sample of the rows that training never sees (at most 10,000 rows and 64 MiB) is
    stored with the version, so that it can be judged anywhere. `false`, for rows that may not be
    stored: the gate then reads `path` again, and refuses to judge if it has changed. The run's
    pictures and the model's input example still show some rows."""

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of a row's features (or a series' channels), once the data was read."""
        if self.columns is None or not isinstance(self.categories, Mapping):
            return self.columns
        values = self.categories
        return tuple(
            feature
            for name in self.columns
            for feature in ([f"{name}={v}" for v in values[name]] if name in values else [name])
        )

    @property
    def indicators(self) -> tuple[bool, ...] | None:
        """Which features are 0 or 1 for a category's value; `None` if there are no categories."""
        if self.columns is None or not isinstance(self.categories, Mapping) or not self.categories:
            return None
        values = self.categories
        return tuple(name in values for name in self.columns for _ in values.get(name, (name,)))

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> DataSpec:
        held_out = self.validation_fraction + self.test_fraction
        if held_out >= 0.95:
            raise ValueError(
                f"validation_fraction + test_fraction = {held_out:g} leaves too little to train "
                "on; keep the sum below 0.95"
            )
        return self

    @model_validator(mode="after")
    def _keeps_labels_only_with_labels(self) -> DataSpec:
        if (
            self.keep_labels is not None
            and self.labels is None
            and not self.path.startswith("sklearn:")
        ):
            raise ValueError("keep_labels needs labels: name the column or array that holds them")
        return self


class EarlyStoppingSpec(SpecModel):
    """When to stop before the last epoch."""

    patience: int = Field(default=10, ge=1)
    """Epochs without improvement of the validation loss before training stops."""
    min_delta: float = Field(default=0.0, ge=0.0)
    """Smallest fall of the validation loss that counts, as a share of the best loss."""


class WorkerRange(SpecModel):
    """How many workers train where a cluster's size changes."""

    min: int = Field(ge=1, le=4096)
    """Training waits for so many."""
    max: int = Field(ge=1, le=4096)
    """No more than these are used."""

    @model_validator(mode="after")
    def _is_a_range(self) -> WorkerRange:
        if self.min > self.max:
            raise ValueError(f"min={self.min} is above max={self.max}; exchange them")
        return self


class TrainingSpec(SpecModel):
    """How long, how fast, on what."""

    epochs: int = Field(default=100, ge=1, le=100_000)
    """Passes over the training rows."""
    global_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 128
    """Rows in one optimizer step, over all workers together. `auto`: the power of two that leaves
    32 steps in an epoch, between 32 and 4096, or less if memory holds less."""
    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    """Step size of the optimizer."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """How the learning rate falls over the epochs, after the warm-up."""
    warm_up_epochs: float = Field(default=0.0, ge=0.0)
    """Epochs, or a part of one, over which the learning rate rises from 0."""
    final_learning_rate_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """What `cosine` and `linear` leave of the learning rate at the last epoch."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=1.0)
    """AdamW's decoupled weight decay."""
    gradient_clip_norm: float | None = Field(default=None, gt=0.0)
    """Gradients are scaled down to this L2 norm; none by default."""
    accumulate_batches: int = Field(default=1, ge=1)
    """Parts that a step's rows are taken in, one after another, where a GPU's memory does not
    hold them at once; their gradients are averaged."""
    weight_average_decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Keeps an exponential moving average of the weights (0.999, say), which is what is
    validated and registered; none by default."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the step; weights and losses stay float32. `auto`: bfloat16 on a GPU that
    has it, else float32."""
    cuda_graphs: bool = Field(
        default=True, validation_alias=AliasChoices("cuda_graphs", "record_steps")
    )
    """Whether one worker on a GPU records a step that does the same each time as a CUDA graph, and
    replays it. Job files once called it `record_steps`."""
    workers: Annotated[int, Field(ge=1, le=4096)] | WorkerRange = 1
    """Processes that share each batch, every one on a GPU if there are that many. A range, as in
    `{min: 2, max: 8}`, takes as many as the cluster has, and grows and shrinks with it."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several workers train together. `ddp`: each holds the whole model, and their gradients
    are averaged. `fsdp`: each holds a share of weights, gradients and optimizer state, for models
    that one GPU does not hold, and writes its share of a checkpoint; it needs GPUs. `auto`: ddp for
    several workers."""
    comm_hook: Literal["auto", "none", "bf16", "powersgd", "post_local_sgd"] = "auto"
    """How ddp's gradients travel. `bf16` halves them; `powersgd` sends factors of low rank;
    `post_local_sgd` lets workers step alone and averages their weights now and then, for slow
    networks, and does not go with `weight_average_decay`; all three change what is learned a
    little. `none`: as they are. `auto`: as they are, through memory that CPU workers of one
    machine share."""
    trainer: Mapping[str, Any] = Field(default_factory=dict)
    """Further arguments of Lightning's Trainer, as in `{detect_anomaly: true}`. Those that other
    fields decide are refused."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """`auto`: a GPU for each worker where the cluster has or can start that many, else the CPU.
    `gpu` asks for GPUs and waits for nodes that join, as long as `ISTHMUS_NODES_TIMEOUT_S` in the
    environment says (900 seconds)."""
    threads_per_worker: int | None = Field(default=None, ge=1)
    """CPU threads of a worker. By default `OMP_NUM_THREADS`, or the CPUs that the process may use
    over the workers, and never more than the size of a step can keep busy."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seeds the split, the weights, the order of rows and the noise."""
    early_stopping: EarlyStoppingSpec | None = EarlyStoppingSpec()
    """`null` trains all epochs."""
    checkpoint_interval_s: float = Field(default=30.0, ge=0.0)
    """At most about this many seconds of work are lost when a worker dies; 0 saves about twice a
    second. Rows that Ray Data reads are saved between epochs only."""
    max_failures: int = Field(default=2, ge=0)
    """How often a lost worker is replaced before the run fails."""

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
    """A training job: what `isthmus train` reads."""

    name: str = Field(pattern=NAME_PATTERN)
    """The pair's name; it registers NAME-encoder and NAME-decoder."""
    description: str = ""
    """A line for people, shown with the model."""
    data: DataSpec
    """Where the rows come from."""
    variant: PluginSpec = PluginSpec(name="plain")
    """How the autoencoder learns: `isthmus schema` lists the variants and their options."""
    net: PluginSpec = PluginSpec(name="auto")
    """What it is made of; `auto` chooses by the kind of the data."""
    latent_dim: int | Literal["auto"] = "auto"
    """Numbers in one latent. `auto`: a quarter of the numbers in a row, between 2 and 32."""
    reconstruction: ReconstructionLoss | Literal["auto"] = "auto"
    """The loss between a row and its reconstruction; `bce` and `ssim` need `data.scaling: minmax`.
    `auto`: mse; gaussian_nll for variants whose objective is a likelihood, where the scale of the
    error decides how much the latent may hold."""
    training: TrainingSpec = TrainingSpec()
    """How long, how fast, on what."""
    tuning: TuningSpec | None = None
    """What `isthmus tune` tries out in place of the above."""
    promotion: PromotionSpec = PromotionSpec()
    """What a version must stand up to before it may be champion."""

    @field_validator("data", mode="before")
    @classmethod
    def _data_may_be_a_path(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("latent_dim")
    @classmethod
    def _latent_has_a_size(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 65_536:
            raise ValueError(f"{value} is out of range; use 1 to 65536, or auto")
        return value
