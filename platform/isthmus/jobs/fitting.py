"""Trains the autoencoders of a job: the pair's own, and the other members of its ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isthmus.jobs.callbacks import copies_of
from isthmus.jobs.ensembles import members_of, others_of, train_others, weights_to_start
from isthmus.jobs.preparation import Prepared
from isthmus.launch.in_process import fit_in_process
from isthmus.loaders.scaled_rows import ScaledRows, is_distributed
from isthmus.progress.reporter import (
    EnsembleReporter,
    Reporter,
    Reporters,
    SilentReporter,
)
from isthmus.progress.result import FitResult
from isthmus.progress.storage import CheckpointStorage
from isthmus.spec import Settings, TrainingSpec

if TYPE_CHECKING:
    from pytorch_lightning import Callback


def member_name(run_id: str, number: int) -> str:
    """Returns the name of the folder of a member's checkpoints; member 0 is the pair's own."""
    return f"{run_id}-member-{number}" if number else run_id


@dataclass(frozen=True)
class Fitting:
    """Trains the autoencoders of a prepared job.

    Attributes:
        prepared: The prepared job.
        settings: The settings with the addresses of the stores.
        run_id: Returns the id of the run, and waits for it if it is not there yet.
        log: Receives the progress of the pair's own autoencoder, for the run.
        reporter: Receives the progress of all members, for people, if given.
        callbacks: Further Lightning callbacks, of which each member besides the pair's own has
            copies: most of them have a state.
        is_resumed: Whether to resume from the last checkpoints.
    """

    prepared: Prepared
    settings: Settings
    run_id: Callable[[], str]
    log: Reporter
    reporter: Reporter | None = None
    callbacks: tuple[Callback, ...] = ()
    is_resumed: bool = False
    _own_callbacks: Mapping[int, tuple[Callback, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Copies the callbacks for the other members, before they change in training."""
        others = range(1, members_of(self.prepared))
        pristine = copies_of(self.callbacks) if others else ()
        copies = {number: copies_of(pristine) for number in others}
        object.__setattr__(self, "_own_callbacks", {0: self.callbacks, **copies})

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
        """Trains the members besides the pair's own; the last may be unfinished.

        On Ray they are trained side by side, unless a member alone takes several workers.
        """
        training = self.prepared.spec.training
        rows = self.prepared.scaled
        if self.is_in_process or training.most_workers > 1 or is_distributed(rows.train):
            return train_others(self.prepared, self.member)
        return self._side_by_side(rows)

    def member(self, number: int, training: TrainingSpec, rows: ScaledRows) -> FitResult:
        """Trains one member, on its rows and from its seed; Ray must be started if it trains."""
        reporter = self._reporter(number)
        plan, root = self.prepared.plan, self.settings.storage_path
        weights = weights_to_start(self.prepared, number)
        if self.is_in_process:
            return fit_in_process(
                plan,
                training,
                rows,
                storage=lambda: CheckpointStorage(root, self._run_name(number)),
                is_resumed=self.is_resumed,
                reporter=reporter,
                callbacks=self._own_callbacks[number],
                weights=weights,
            )
        from isthmus.launch.ray_trainer import fit  # loads Ray, which one process does not need

        return fit(
            plan,
            training,
            rows,
            storage_path=root,
            run_name=self._run_name(number),
            reporter=reporter,
            callbacks=self._own_callbacks[number],
            weights=weights,
        )

    def _side_by_side(self, rows: ScaledRows) -> list[FitResult]:
        from isthmus.launch.ray_members import Member, fit_members  # loads Ray

        count = members_of(self.prepared)
        members = [
            Member(
                training,
                self._run_name(number),
                taken,
                weights_to_start(self.prepared, number),
                self._own_callbacks[number],
            )
            for number, training, taken in others_of(self.prepared)
        ]
        if not members:
            return []

        def on_done(done: int) -> None:
            if isinstance(self.reporter, EnsembleReporter):
                self.reporter.on_member(done + 1, count)

        return fit_members(
            self.prepared.plan,
            members,
            rows,
            storage_path=self.settings.storage_path,
            on_done=on_done,
        )

    def _run_name(self, number: int) -> str:
        return member_name(self.run_id(), number)

    def _reporter(self, number: int) -> Reporter:
        if number == 0:
            return Reporters(self.log, self.reporter) if self.reporter else self.log
        shown = self.reporter or SilentReporter()
        if isinstance(shown, EnsembleReporter):
            shown.on_member(number + 1, members_of(self.prepared))
        return shown
