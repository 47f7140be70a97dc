"""The commands, as Python functions. Stores are those of `Settings.from_environment()`."""

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
    from isthmus.registry import Lineage, ModelSummary, Pair, VersionSummary
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

    Its batches are rows as the loss sees them: scale them before, and tell `module.scaling.fit`
    how, so that `encode`, `reconstruct` and `score` take rows in data units.

    Args:
        variant: How it learns: its name, or `{"name": "vae", "beta": 4}`.
        row_shape: Shape of one row: (F,), (C, H, W) or (C, T).
        latent_dim: Numbers of one latent.
        net: What it is made of, in the same ways; `auto` chooses by the kind.
        kind: What a row is; `auto`: images for three axes, series for two, else tabular.
        reconstruction: The loss between a row and its reconstruction.
        **training: `learning_rate`, `schedule`, `warm_up_epochs`, `final_learning_rate_share`,
            `weight_decay`, `gradient_clip_norm`; see the constructor of `Autoencoder`.

    Raises:
        SpecError: If these do not go together.
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
        overrides: For a job file: `["training.epochs=5"]`.
        settings: Where the stores are; by default what the environment says.
        reporter: Hears of the progress.
        callbacks: Further callbacks of Lightning's. They see every step, so that the fast path of
            one process is not taken; on Ray they are pickled and run in every worker.

    Raises:
        IsthmusError: In one line, what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus.jobs.specs import load_job_file
    from isthmus.jobs.train import train as train_job

    spec = load_job_file(job, overrides or []) if isinstance(job, str | Path) else job
    return train_job(spec, settings, reporter, callbacks)


def resume(
    run: str, *, settings: Settings | None = None, reporter: Reporter | None = None
) -> TrainResult:
    """Goes on with a run that was interrupted; `run` is its id, the beginning of it, or its name.

    Raises:
        IsthmusError: In one line, what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus.jobs.train import resume as resume_job

    return resume_job(run, settings, reporter)


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
        overrides: For a job file: `["tuning.trials=10"]`.
        search: For a job file: what to try besides, `["latent_dim=choice:8,16,32"]`.
        settings: Where the stores are; by default what the environment says.
        reporter: Hears of the progress.

    Raises:
        IsthmusError: In one line, what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus.jobs.specs import catalog
    from isthmus.jobs.tune import tune as tune_job
    from isthmus.spec import load_job

    if isinstance(job, str | Path):
        job = load_job(job, overrides or [], catalog(), search or [])
    return tune_job(job, settings, reporter)


def load(
    reference: str, *, compatible_with: str | None = None, settings: Settings | None = None
) -> Pair:
    """A registered pair, whole and verified: `load("digits@champion").denoise(rows)`.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        compatible_with: An older pair, `digits/3`: `encode` then gives latents in its space, under
            its id, so that its decoder and embeddings stored with it go with them; `decode` takes
            such latents. By the maps that each version keeps to the champion of its time.
        settings: Where the registry is; by default what the environment says.

    Raises:
        IsthmusError: In one line, what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import registry

    if compatible_with is not None:
        return registry.load_compatible(reference, compatible_with, settings)
    return registry.load(reference, settings)


def onnx_files(reference: str, *, settings: Settings | None = None) -> Mapping[str, Path]:
    """A pair's ONNX graphs on this machine, verified: `encoder`, `decoder` and `score`.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        settings: Where the registry is; by default what the environment says.

    Raises:
        IsthmusError: In one line, what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import registry

    return {str(graph): file for graph, file in registry.onnx_files(reference, settings).items()}


def models(*, all_versions: bool = False, settings: Settings | None = None) -> list[ModelSummary]:
    """All pairs, each with its versions, newest first; the newest 10 unless all are asked for."""
    settings = settings or _settings()
    from isthmus import registry

    return registry.list_models(settings, None if all_versions else registry.NEWEST)


def versions(
    name: str, *, all_versions: bool = False, settings: Settings | None = None
) -> tuple[VersionSummary, ...]:
    """The versions of one pair, newest first; the newest 10 unless all are asked for."""
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
    settings: Settings | None = None,
) -> Promotion:
    """Gives a version an alias, on both halves; before it is champion, it passes the gate.

    Args:
        name: Of the pair.
        version: Of the pair.
        alias: Which; the gate stands before `champion` only.
        why: For the history.
        force: Promotes what the gate refuses; needs `why`.
        settings: Where the registry is; by default what the environment says.

    Raises:
        PromotionRefused: In one line with the figures, if the gate refuses it.
        IsthmusError: In one line, what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import promotion

    return promotion.promote(name, version, settings, alias, why=why, force=force).promotion


def gate(reference: str, *, settings: Settings | None = None) -> Verdict:
    """What the gate says of a version beside today's champion; changes nothing.

    Args:
        reference: `NAME/VERSION`.
        settings: Where the registry is; by default what the environment says.

    Raises:
        IsthmusError: In one line, what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import promotion

    return promotion.judge_reference(reference, settings)


def rollback(name: str, *, why: str = "", settings: Settings | None = None) -> Promotion:
    """Makes the champion before the present one champion again; twice goes further back.

    Raises:
        IsthmusError: In one line, what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import aliases

    return aliases.rollback(name, settings, why=why)


def history(name: str, *, settings: Settings | None = None) -> tuple[Event, ...]:
    """Who gave a pair's versions their aliases, when and why; oldest first.

    What was clicked in MLflow's page since the last time is recorded first.

    Raises:
        IsthmusError: In one line, what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import aliases

    aliases.reconcile(name, settings)
    return aliases.history(name, settings)


def lineage(what: str, *, settings: Settings | None = None) -> Lineage:
    """Where something came from and what came of it: data, runs, pairs, outputs.

    Args:
        what: A file of results, `NAME/VERSION`, `NAME@ALIAS`, a run, or a data fingerprint.
        settings: Where the stores are; by default what the environment says.

    Raises:
        IsthmusError: In one line, what is wrong and what to do.
    """
    settings = settings or _settings()
    from isthmus import registry

    return registry.lineage(what, settings)


def _settings() -> Settings:
    quieten()
    from isthmus.spec import Settings

    return Settings.from_environment()
