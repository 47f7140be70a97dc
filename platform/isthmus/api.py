"""The commands as Python functions; stores default to those of `Settings.from_environment()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from isthmus.api_registry import default_settings as _settings
from isthmus.api_registry import (
    delete,
    gate,
    history,
    lineage,
    models,
    promote,
    prune,
    rollback,
    versions,
)
from isthmus.quiet import quieten

if TYPE_CHECKING:
    from pytorch_lightning import Callback

    from isthmus.core import Autoencoder
    from isthmus.embedding.index import Metric
    from isthmus.embedding.searching import SearchResult
    from isthmus.jobs.train import TrainResult
    from isthmus.jobs.tune import TuneResult
    from isthmus.modules import AutoencoderModule
    from isthmus.nets import Net
    from isthmus.progress.reporter import Reporter
    from isthmus.registry import Device, Pair
    from isthmus.search import SearchReporter
    from isthmus.spec import JobSpec, Settings
    from isthmus.uses._loaded import LoadedPair

__all__ = [
    "build",
    "delete",
    "finish",
    "gate",
    "history",
    "lineage",
    "load",
    "models",
    "nearest",
    "onnx_files",
    "promote",
    "prune",
    "resume",
    "rollback",
    "train",
    "tune",
    "versions",
]


def build(
    variant: str | type[Autoencoder] | Mapping[str, object],
    *,
    row_shape: Sequence[int],
    latent_dim: int | Literal["auto"] = "auto",
    net: str | type[Net] | Mapping[str, object] = "auto",
    kind: str = "auto",
    reconstruction: str = "auto",
    **training: Any,
) -> AutoencoderModule:
    """Returns an ordinary LightningModule around an autoencoder, for any Lightning Trainer.

    Its batches are rows as the loss sees them: scale them first, and pass the same statistics to
    `module.scaling.fit`, so that `encode`, `reconstruct` and `score` take rows in data units.
    `module.autoencoder` is the variant itself, a `torch.nn.Module`.

    Args:
        variant: The training method: its name, a class of your own, or either with options,
            `{"name": "vae", "beta": 4}`.
        row_shape: The shape of one row: (F,), (C, H, W) or (C, T).
        latent_dim: The number of values in one latent.
        net: The network, given like the variant; `auto` chooses by the kind.
        kind: The kind of a row; `auto` means images for three axes, series for two, else tabular.
        reconstruction: The loss between a row and its reconstruction.
        **training: `learning_rate`, `schedule`, `warm_up_epochs`, `final_learning_rate_share`,
            `weight_decay`, `gradient_clip_norm`; see the constructor of `AutoencoderModule`.

    Raises:
        SpecError: If the arguments do not fit together.
    """
    quieten()
    from isthmus.jobs.building import build as build_module

    return build_module(
        variant,
        row_shape=tuple(row_shape),
        latent_dim=latent_dim,
        net=net,
        kind=kind,
        reconstruction=reconstruction,
        **training,
    )


def train(
    job: str | Path | Mapping[str, object] | JobSpec,
    *,
    data: Any = None,
    overrides: list[str] | None = None,
    settings: Settings | None = None,
    reporter: Reporter | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Trains and registers a pair: `train("job.yaml")`, or `train({"name": "sales"}, data=frame)`.

    Args:
        job: A job file's path, its content as a mapping, or a spec. In a mapping, a class of your
            own may stand where the name of a variant or net stands.
        data: The rows, in place of `data.path`: a frame, an array or a tensor.
        overrides: Overrides for a job file, `["training.epochs=5"]`.
        settings: The settings with the stores' addresses; by default from the environment.
        reporter: Receives the progress.
        callbacks: Further Lightning callbacks. They see every step, which excludes the fast path of
            one process; on Ray they are pickled and run in every worker.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus.jobs.given_rows import job_on_rows
    from isthmus.jobs.specs import load_job_file
    from isthmus.jobs.train import train as train_job

    if data is not None:
        with job_on_rows(job, data, overrides or [], settings) as on_rows:
            return train_job(on_rows, settings, reporter, callbacks)
    spec = load_job_file(job, overrides or []) if isinstance(job, str | Path) else job
    return train_job(spec, settings, reporter, callbacks)


def resume(
    run: str,
    *,
    settings: Settings | None = None,
    reporter: Reporter | None = None,
    callbacks: Sequence[Callback] = (),
    overrides: list[str] | None = None,
) -> TrainResult:
    """Resumes an interrupted run; `run` is its id, the beginning of its id, or its name.

    Callbacks are not stored with a run: give those that it began with, whose state is. Epochs,
    early stopping, schedule and checkpoint interval may change: `overrides=["training.epochs=20"]`.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus.jobs.train import resume as resume_job

    return resume_job(run, settings, reporter, callbacks, overrides or ())


def finish(run: str, *, settings: Settings | None = None) -> TrainResult:
    """Registers what a stopped run has, from its best checkpoint so far, without training further.

    `run` is the id of a run that was interrupted, killed or failed, its beginning, or its name. The
    run is finished then, and cannot be resumed any more.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus.jobs.train import finish as finish_job

    return finish_job(run, settings)


def tune(
    job: str | Path | Mapping[str, object] | JobSpec,
    *,
    overrides: list[str] | None = None,
    search: list[str] | None = None,
    settings: Settings | None = None,
    reporter: SearchReporter | None = None,
) -> TuneResult:
    """Searches for the best values of a job's fields, and registers the best trial's pair.

    Args:
        job: A job file's path, its content as a mapping, or a spec; with a `tuning` section.
        overrides: Overrides for a job file, `["tuning.trials=10"]`.
        search: Further values to try with a job file, `["latent_dim=choice:8,16,32"]`.
        settings: The settings with the stores' addresses; by default from the environment.
        reporter: Receives the progress.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus.jobs.specs import load_job_file
    from isthmus.jobs.tune import tune as tune_job

    if isinstance(job, str | Path):
        job = load_job_file(job, overrides or [], search or [])
    return tune_job(job, settings, reporter)


@overload
def load(
    reference: str,
    *,
    compatible_with: None = None,
    device: Device = "auto",
    trust_plugins: bool = False,
    settings: Settings | None = None,
) -> LoadedPair:
    """Loads a pair, which takes arrays and files."""


@overload
def load(
    reference: str,
    *,
    compatible_with: str,
    device: Device = "auto",
    trust_plugins: bool = False,
    settings: Settings | None = None,
) -> Pair:
    """Loads a pair that works in the latent space of another; it takes arrays."""


def load(
    reference: str,
    *,
    compatible_with: str | None = None,
    device: Device = "auto",
    trust_plugins: bool = False,
    settings: Settings | None = None,
) -> Pair:
    """Loads a registered pair, whole and verified: `load("digits@champion").denoise(rows)`.

    Every downstream job is a method of it that takes files, folders or `s3://` addresses, and the
    options of its command: `load("digits@champion").detect("new/", "scores.csv", explain=True)`.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        compatible_with: An older pair, `digits/3`. `encode` then returns latents in its space,
            under its id, which fit its decoder and its stored embeddings; `decode` takes such
            latents. This uses the maps that each version stores to the champion of its time. Such a
            pair takes arrays only.
        device: The device that the pair computes on: `auto` is a GPU if there is one, else the CPU.
            Rows and results are in the CPU's memory in any case.
        trust_plugins: Whether code that is stored with the pair, of a variant or net that is not
            installed, may be run. `ISTHMUS_TRUST_PLUGINS=1` allows it for all pairs.
        settings: The settings with the registry's address; by default from the environment.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import registry

    if trust_plugins:
        settings = settings.model_copy(update={"trust_plugins": True})
    if compatible_with is not None:
        return registry.load_compatible(reference, compatible_with, settings, device)
    from isthmus.uses._loaded import LoadedPair

    return LoadedPair.of(registry.load(reference, settings, device), settings)


def onnx_files(reference: str, *, settings: Settings | None = None) -> Mapping[str, Path]:
    """Returns the local, verified files of a pair's ONNX graphs: `encoder`, `decoder` and `score`.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        settings: The settings with the registry's address; by default from the environment.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import registry

    return {str(graph): file for graph, file in registry.onnx_files(reference, settings).items()}


def nearest(
    index: str | Path,
    source: str | Path,
    *,
    k: int = 10,
    metric: Metric | None = None,
    model: str | None = None,
    output: str | Path | None = None,
    device: Device = "auto",
    settings: Settings | None = None,
) -> SearchResult:
    """Finds the embedded rows that are nearest to the rows of a file, as `isthmus search` does.

    Args:
        index: The folder that `isthmus embed --index` wrote; local or `s3://`.
        source: The rows to look for: a file, a folder or a glob; local or `s3://`.
        k: The number of neighbours of each row.
        metric: `l2` or `cosine`; by default, the index's own.
        model: The pair that encodes the rows; by default, the one in whose space the index is.
        output: A csv, parquet or npz for the neighbours; by default they are in the result.
        device: The device that the pair computes on; `auto` is a GPU if there is one.
        settings: The settings with the registry's address; by default from the environment.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus.embedding.searching import search

    place = (index, str(source), settings)
    return search(*place, k=k, metric=metric, model=model, output=output, device=device)
