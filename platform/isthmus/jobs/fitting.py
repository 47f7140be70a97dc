"""Trains the autoencoders of a job: the pair's own, and the other members of its ensemble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus.jobs.ensembles import members_of, train_others
from isthmus.jobs.preparation import Prepared
from isthmus.launch.in_process import fit_in_process
from isthmus.loaders.scaled_rows import ScaledRows
from isthmus.progress.reporter import EnsembleReporter, EpochReport, Reporter, Reporters
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from isthmus.spec import Settings, TrainingSpec

if TYPE_CHECKING:
    from pytorch_lightning import Callback


@dataclass(frozen=True)
class Fitting:
    """How the autoencoders of a job are trained.

    Attributes:
        prepared: The prepared job.
        settings: The settings with the addresses of the stores.
        run_id: Returns the id of the run, and waits for it if it is not there yet.
        log: Receives the progress of the pair's own autoencoder, for the run.
        reporter: Receives the progress of all members, for people, if given.
        callbacks: Further Lightning callbacks.
        is_resumed: Whether to resume from the last checkpoints.
    """

    prepared: Prepared
    settings: Settings
    run_id: Callable[[], str]
    log: Reporter
    reporter: Reporter | None = None
    callbacks: tuple[Callback, ...] = ()
    is_resumed: bool = False

    @property
    def is_in_process(self) -> bool:
        """Whether this process trains; otherwise Ray's workers do."""
        training = self.prepared.spec.training
        is_alone = training.workers == 1 and training.strategy == "auto"
        return is_alone and self.settings.ray_address is None

    def all_members(self) -> list[FitResult]:
        """Trains all members.

        Returns:
            Their results, the pair's own first; the last is unfinished if training was interrupted.

        Raises:
            TrainingError: If training diverged or failed.
            ClusterError: If the cluster has too few resources.
        """
        first = self.member(0, self.prepared.spec.training, self.prepared.scaled)
        return [first, *self.others()] if first.progress.finished else [first]

    def others(self) -> list[FitResult]:
        """Trains the members besides the pair's own; the last may be unfinished."""
        return train_others(self.prepared, self.member)

    def member(self, number: int, training: TrainingSpec, rows: ScaledRows) -> FitResult:
        """Trains one member, on its rows and from its seed; Ray must be started if it trains."""
        reporter = self._reporter(number)
        plan, root = self.prepared.plan, self.settings.storage_path
        if self.is_in_process:
            return fit_in_process(
                plan,
                training,
                rows,
                storage=lambda: CheckpointStorage(root, self._run_name(number)),
                is_resumed=self.is_resumed,
                reporter=reporter,
                callbacks=self.callbacks,
            )
        from isthmus.launch.ray_trainer import fit  # loads Ray, which one process does not need

        return fit(
            plan,
            training,
            rows,
            storage_path=root,
            run_name=self._run_name(number),
            reporter=reporter,
            callbacks=self.callbacks,
        )

    def _run_name(self, number: int) -> str:
        return f"{self.run_id()}-member-{number}" if number else self.run_id()

    def _reporter(self, number: int) -> Reporter:
        if number == 0:
            return Reporters(self.log, self.reporter) if self.reporter else self.log
        shown = self.reporter or _Silent()
        if isinstance(shown, EnsembleReporter):
            shown.on_member(number + 1, members_of(self.prepared))
        return shown


class _Silent:
    """A reporter that reports nothing: the run shows the losses of the pair's own autoencoder."""

    def on_start(self, epochs: int, rows: int, first_epoch: int) -> None:
        """Does nothing."""

    def on_rows(self, epoch: int, done: int) -> None:
        """Does nothing."""

    def on_epoch(self, report: EpochReport) -> None:
        """Does nothing."""
