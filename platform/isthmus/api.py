"""The commands as Python functions; stores default to those of `Settings.from_environment()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from isthmus.quiet import quieten

if TYPE_CHECKING:
    from pytorch_lightning import Callback

    from isthmus.aliases import Event, Promotion
    from isthmus.core import Autoencoder
    from isthmus.jobs.train import TrainResult
    from isthmus.jobs.tune import TuneResult
    from isthmus.progress.reporter import Reporter
    from isthmus.promotion import Verdict
    from isthmus.registry import Device, Lineage, ModelSummary, Pair, VersionSummary
    from isthmus.search import SearchReporter
    from isthmus.spec import JobSpec, Settings


def build(
    variant: str | Mapping[str, object],
    *,
    row_shape: Sequence[int],
    latent_dim: int | Literal["auto"] = "auto",
    net: str | Mapping[str, object] = "auto",
    kind: str = "auto",
    reconstruction: str = "auto",
    **training: Any,
) -> Autoencoder:
    """Returns an autoencoder that any Lightning Trainer can train: an ordinary LightningModule.

    Its batches are rows as the loss sees them: scale them first, and pass the same statistics to
    `module.scaling.fit`, so that `encode`, `reconstruct` and `score` take rows in data units.

    Args:
        variant: The training method: its name, or its name with options,
            `{"name": "vae", "beta": 4}`.
        row_shape: The shape of one row: (F,), (C, H, W) or (C, T).
        latent_dim: The number of values in one latent.
        net: The network, given like the variant; `auto` chooses by the kind.
        kind: The kind of a row; `auto` means images for three axes, series for two, else tabular.
        reconstruction: The loss between a row and its reconstruction.
        **training: `learning_rate`, `schedule`, `warm_up_epochs`, `final_learning_rate_share`,
            `weight_decay`, `gradient_clip_norm`; see the constructor of `Autoencoder`.

    Raises:
        SpecError: If the arguments do not fit together.
    """
    quieten()
    from isthmus.jobs.specs import build as build_module

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
    overrides: list[str] | None = None,
    settings: Settings | None = None,
    reporter: Reporter | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Trains and registers a pair.

    Args:
        job: A job file's path, its content as a mapping, or a spec.
        overrides: Overrides for a job file, `["training.epochs=5"]`.
        settings: The settings with the stores' addresses; by default from the environment.
        reporter: Receives the progress.
        callbacks: Further Lightning callbacks. They see every step, so training in one process
            cannot take its fast path; on Ray they are pickled and run in every worker.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus.jobs.specs import load_job_file
    from isthmus.jobs.train import train as train_job

    spec = load_job_file(job, overrides or []) if isinstance(job, str | Path) else job
    return train_job(spec, settings, reporter, callbacks)


def resume(
    run: str,
    *,
    settings: Settings | None = None,
    reporter: Reporter | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainResult:
    """Resumes an interrupted run; `run` is its id, the beginning of its id, or its name.

    Callbacks are not stored with a run: give those that it began with, whose state is.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus.jobs.train import resume as resume_job

    return resume_job(run, settings, reporter, callbacks)


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
    from isthmus.jobs.specs import catalog
    from isthmus.jobs.tune import tune as tune_job
    from isthmus.spec import load_job

    if isinstance(job, str | Path):
        job = load_job(job, overrides or [], catalog(), search or [])
    return tune_job(job, settings, reporter)


def load(
    reference: str,
    *,
    compatible_with: str | None = None,
    device: Device = "auto",
    settings: Settings | None = None,
) -> Pair:
    """Loads a registered pair, whole and verified: `load("digits@champion").denoise(rows)`.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        compatible_with: An older pair, `digits/3`. `encode` then returns latents in its space,
            under its id, which fit its decoder and embeddings that were stored with it; `decode`
            takes such latents. This uses the maps that each version stores to the champion of its
            time.
        device: The device that the pair computes on: `auto` is a GPU if there is one, else the
            CPU. Rows and results are arrays in the CPU's memory in any case.
        settings: The settings with the registry's address; by default from the environment.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import registry

    if compatible_with is not None:
        return registry.load_compatible(reference, compatible_with, settings, device)
    return registry.load(reference, settings, device)


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


def models(*, all_versions: bool = False, settings: Settings | None = None) -> list[ModelSummary]:
    """Returns all pairs with their versions, newest first; by default the newest 10 of each."""
    settings = settings or _settings()
    from isthmus import registry

    return registry.list_models(settings, None if all_versions else registry.NEWEST)


def versions(
    name: str, *, all_versions: bool = False, settings: Settings | None = None
) -> tuple[VersionSummary, ...]:
    """Returns the versions of one pair, newest first; by default the newest 10."""
    settings = settings or _settings()
    from isthmus import registry

    return registry.list_versions(name, settings, None if all_versions else registry.NEWEST)


def promote(
    name: str,
    version: int,
    *,
    alias: str = "champion",
    why: str = "",
    force: bool = False,
    undecided: bool = False,
    settings: Settings | None = None,
) -> Promotion:
    """Gives both halves of a version an alias; to become champion, it must pass the gate.

    Args:
        name: The name of the pair.
        version: The version of the pair.
        alias: The alias; only `champion` requires the gate.
        why: The reason, for the history.
        force: Whether to promote a version that the gate refuses; requires `why`.
        undecided: Whether to promote it also where the gate cannot tell from so few rows.
        settings: The settings with the registry's address; by default from the environment.

    Raises:
        PromotionRefused: If the gate refuses the version, or is undecided; the message has the
            figures in one line.
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import promotion

    return promotion.promote(
        name, version, settings, alias, why=why, force=force, undecided=undecided
    ).promotion


def gate(reference: str, *, settings: Settings | None = None) -> Verdict:
    """Returns the gate's verdict on a version, compared with today's champion; changes nothing.

    Args:
        reference: The version, `NAME/VERSION`.
        settings: The settings with the registry's address; by default from the environment.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import promotion

    return promotion.judge_reference(reference, settings)


def rollback(name: str, *, why: str = "", settings: Settings | None = None) -> Promotion:
    """Makes the champion before the present one champion again; a second call goes further back.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import aliases

    return aliases.rollback(name, settings, why=why)


def history(name: str, *, settings: Settings | None = None) -> tuple[Event, ...]:
    """Returns who gave a pair's versions their aliases, when and why; oldest first.

    Changes that were made in MLflow's page since the last time are recorded first.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import aliases

    aliases.reconcile(name, settings)
    return aliases.history(name, settings)


def lineage(what: str, *, settings: Settings | None = None) -> Lineage:
    """Returns where something came from and what was made from it: data, runs, pairs, outputs.

    Args:
        what: A file of results, `NAME/VERSION`, `NAME@ALIAS`, a run, or a data fingerprint.
        settings: The settings with the stores' addresses; by default from the environment.

    Raises:
        IsthmusError: If it fails; the message says in one line what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import registry

    return registry.lineage(what, settings)


def _settings() -> Settings:
    quieten()
    from isthmus.spec import Settings

    return Settings.from_environment()
