"""The command `tune`, which searches for the best values of a job's fields."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.json_output import AsJson, print_json
from isthmus.cli.numbers import whole_number
from isthmus.cli.terminal import err, out
from isthmus.cli.train import (
    INTERRUPTED,
    JobFile,
    Overrides,
    print_limits,
    print_next,
    print_results,
)

if TYPE_CHECKING:
    from rich.table import Table

    from isthmus.jobs.tune import TuneResult
    from isthmus.progress.reporter import EpochReport
    from isthmus.search import TrialRecord

_SHOWN_TRIALS = 12
_SECONDS_BETWEEN_LINES = 5.0


def tune(
    job: JobFile,
    overrides: Overrides = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RANGE",
            help="Search the values of a field: latent_dim=choice:8,16,32 or "
            "training.learning_rate=log_uniform:1e-4:1e-2 (also uniform, integer, log_integer). "
            "Repeatable.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(help="The number of trials.", show_default=False, parser=whole_number),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search for the best values of a job file's fields, and register the best trial's pair.

    The ranges are in the job file's tuning section, or in --search. Ctrl-C stops the trials after
    their epochs.

    Example: isthmus tune pipelines/jobs/digits.yaml --search latent_dim=choice:8,16,32 --trials 3
    """
    from isthmus import api

    given = [*(overrides or []), *([f"tuning.trials={trials}"] if trials is not None else [])]
    with SearchProgress() as progress:
        result = api.tune(job, overrides=given, search=search or [], reporter=progress)
    if as_json:
        print_json(result)
    if result.status == "interrupted":
        best = f" The best so far: {_options(result.best)}" if result.best else ""
        err.print(f"Stopped in trial {_count(result)}.{best}", markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED)
    if not as_json:
        _summarise(job, given, result)


class SearchProgress:
    """A `search.SearchReporter` that shows a live table on a terminal, else a line per trial."""

    def __init__(self) -> None:
        self._trials: dict[int, TrialRecord] = {}
        from rich.live import Live

        self._live = Live(console=err.console, refresh_per_second=4, transient=True)
        self._line_s = time.monotonic()

    def __enter__(self) -> "SearchProgress":
        if err.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def on_trial(self, trial: "TrialRecord") -> None:
        """Shows a new trial."""
        self._show(trial)

    def on_trial_epoch(self, trial: "TrialRecord", report: "EpochReport") -> None:
        """Shows a finished epoch of a trial."""
        self._show(trial)
        now_s = time.monotonic()
        if not err.is_terminal and now_s - self._line_s >= _SECONDS_BETWEEN_LINES:
            self._line_s = now_s
            err.print(
                f"trial {trial.number}: epoch {trial.epoch}/{trial.epochs}  "
                f"validation {trial.loss:.4g}"
            )

    def on_trial_end(self, trial: "TrialRecord") -> None:
        """Shows the end of a trial."""
        self._show(trial)
        if err.is_terminal:
            return
        self._line_s = time.monotonic()
        best = self._best()
        said = f"trial {trial.number} {trial.state}: {_options(trial)}"
        said += f"  {trial.value:.4g}" if trial.value is not None else ""
        said += f"  ({trial.reason})" if trial.reason else ""
        said += f"  best {best.value:.4g} (trial {best.number})" if best and best.value else ""
        err.print(said, markup=False)

    def _show(self, trial: "TrialRecord") -> None:
        self._trials[trial.number] = trial
        if err.is_terminal:
            self._live.update(self.table())

    def _best(self) -> "TrialRecord | None":
        valued = [trial for trial in self._trials.values() if trial.value is not None]
        return min(valued, key=lambda trial: trial.value or 0.0, default=None)

    def table(self) -> "Table":
        """Returns a table of the running trials, the best one, and the newest ended ones."""
        best = self._best()
        from rich.table import Table

        table = Table(box=None)
        for column in ("trial", "state", "value", "loss", "epoch", "values"):
            table.add_column(column, overflow="fold")
        newest = sorted(self._trials.values(), key=lambda trial: (trial.is_over, -trial.number))
        shown = newest[:_SHOWN_TRIALS]
        if best and best not in shown:
            shown.append(best)
        for trial in sorted(shown, key=lambda trial: trial.number):
            table.add_row(
                str(trial.number),
                trial.reason or trial.state,
                f"{trial.value:.4g}" if trial.value is not None else "",
                f"{trial.loss:.4g}" if trial.loss is not None else "",
                f"{trial.epoch}/{trial.epochs}" if trial.epochs else "",
                _options(trial),
                style="bold green" if trial is best else "dim" if trial.is_over else None,
            )
        return table


def _summarise(job: Path, given: list[str], result: "TuneResult") -> None:
    best, plan, metrics = result.best, result.plan, result.metrics or {}
    assert best is not None  # noqa: S101 (finished)
    assert plan is not None  # noqa: S101 (finished)
    assert result.pair is not None  # noqa: S101 (finished)
    out.print(f"[bold]{result.pair}[/bold] is registered (pair {result.pair.pair_id})")
    out.print(
        f"  the best of {_count(result)} trials: {result.metric} {best.value:.5g}, trial "
        f"{best.number}; {plan.variant.name} over {plan.net.name}, latent {plan.latent_dim}, "
        f"{metrics['seconds']:.0f} s in all"
    )
    if result.ended_early:
        out.paragraph(f"  {result.ended_early}")
    print_results(metrics, plan)
    print_limits(metrics, result.not_reconstructed)
    own = "".join(f" --set {shlex.quote(each)}" for each in given if "tuning." not in each)
    out.print(f"  run {result.run_id[:8]}: see it and its trials with isthmus ui")
    out.print(f"Again: isthmus train {job}{own} {_options(best)}", markup=False, soft_wrap=True)
    print_next(result.pair, result.refusal)


def _options(trial: "TrialRecord") -> str:
    from isthmus.spec import as_options

    return " ".join(f"--set {shlex.quote(each)}" for each in as_options(trial.values))


def _count(result: "TuneResult") -> int:
    return len(result.trials)
