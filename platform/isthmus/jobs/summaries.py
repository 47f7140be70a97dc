"""Writes the summary of a finished training that a notebook shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.notebook import summary
from isthmus.progress.counting import counted
from isthmus.registry.summaries import figures_of, pictures_of, plan_in_words
from isthmus.spec import Settings
from isthmus.tracking.noise_in_words import compared_in_words, remarks
from isthmus.tracking.rates_in_words import rates_in_words

if TYPE_CHECKING:
    from isthmus.jobs.train import TrainResult

_PICTURES = ("reconstructions", "errors", "loss")


def training_summary(result: TrainResult, settings: Settings | None) -> str:
    """Returns the summary of a training, as HTML.

    Args:
        result: The result.
        settings: The settings with the store of its run; `None` leaves the pictures out.
    """
    run, metrics, plan = result.run_id[:8], result.metrics, result.plan
    if result.pair is None:
        return summary(
            f"Run {run} was stopped after {counted(result.epochs, 'epochs')}",
            lines=[f"{plan_in_words(plan)}."],
            following=f'Go on with isthmus.resume("{run}").',
        )
    said = [
        compared_in_words(metrics, plan),
        *remarks(metrics, plan),
        rates_in_words(metrics, plan),
    ]
    if result.not_reconstructed:
        said.append(f"hardly reconstructed: {', '.join(result.not_reconstructed)}")
    name, version = result.pair.name, result.pair.version
    best = f"{metrics['best_epoch']:.0f} was the best"
    if not metrics["best_epoch"]:
        best = f"none was better than {result.started_from}, whose weights it has"
    return summary(
        f"{result.pair} is registered",
        lines=[
            f"{plan_in_words(plan)}; {counted(metrics['epochs'], 'epochs')}, of which {best}, in "
            f"{metrics['seconds']:.0f} s; run {run}.",
            *(f"{each[:1].upper()}{each[1:]}." for each in said if each),
        ],
        figures=figures_of(metrics),
        ours=str(result.pair),
        pictures=[] if settings is None else pictures_of(result.run_id, settings, *_PICTURES),
        following=result.refusal or f'Next: isthmus.promote("{name}", {version})',
    )
