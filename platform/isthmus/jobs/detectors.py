"""Makes the detector of a trained pair: fits the score, and calibrates it on unseen normal rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus import nets, scores, variants
from isthmus.bundle.manifest import CalibrationWay
from isthmus.core import Autoencoder, VariationalAutoencoder
from isthmus.core.calibration import DEFAULT_RATE, Calibration
from isthmus.data import scores_of_steps
from isthmus.data.prepared.stored import FloatRows, rows_at
from isthmus.drift.statistics import effective_size
from isthmus.jobs.ensembles import Folds
from isthmus.jobs.evaluation import of_each, rows_at_once
from isthmus.jobs.preparation import Prepared
from isthmus.scores import Detector, Score, Views
from isthmus.spec import ModelPlan, PluginSpec

_logger = logging.getLogger(__name__)
# A score is fitted on at most so many rows, and so many values.
_MOST_ROWS = 20_000
_MOST_NUMBERS = 20_000_000


@dataclass(frozen=True)
class Calibrated:
    """A detector that is ready to be registered.

    Attributes:
        detector: The detector.
        rows: The number of rows that its calibration rests on, or that these are worth.
        way: The way in which these rows were kept from training.
        scoring: The score, with `auto` resolved.
    """

    detector: Detector
    rows: int
    way: CalibrationWay
    scoring: PluginSpec


def make_detector(
    prepared: Prepared, modules: Sequence[Autoencoder], folds: Folds | None
) -> Calibrated:
    """Fits the job's score for each member, and calibrates it on rows that no score has seen.

    Args:
        prepared: The prepared job.
        modules: The trained members, the pair's own first, in evaluation mode, on the CPU.
        folds: The training rows that each other member was not trained on; `None` if all members
            were trained on all of them.
    """
    spec, seed = _scoring(prepared), prepared.spec.training.seed
    train, way = prepared.first_view, _way(prepared, folds)
    most = _most_rows(prepared.plan, scores.get(spec.name))
    held_out = _sample(prepared.validation, np.arange(len(prepared.validation)), most, seed)
    fitted = []
    with torch.no_grad():
        for number, module in enumerate(modules):
            seen = np.arange(len(train)) if folds is None else folds.trained_on(number)
            score = scores.build(spec)
            known = module.scaling.inverse(_sample(train, seen, most, seed))
            if way != "shared":
                # No calibration rests on these rows, so the score may know them.
                known = torch.cat([known, held_out])
            score.fit(Views(module, known), Views(module, held_out), seed)
            fitted.append(score.eval())
    detector = Detector(modules[0], fitted, modules[1:]).eval()
    found = _unseen_scores(detector, prepared, folds)
    detector.calibration.fit(torch.from_numpy(found), _independent(found, prepared))
    detector.point_calibration = _point_calibration(detector, prepared)
    return Calibrated(detector, detector.calibration.rows, way, spec)


def _scoring(prepared: Prepared) -> PluginSpec:
    """Returns the job's score, with `auto` resolved: a variant with a score of its own uses it.

    Where the latent is no bottleneck, as in nets for denoising, it holds the row itself: comparing
    it with those of other rows would cost much and tell nothing, so the errors are the score.
    """
    asked, plan = prepared.spec.scoring, prepared.plan
    if asked.name != "auto":
        return asked
    # Other scores are fitted to one size of images, and would take longer than the training.
    is_any_size = prepared.data.patch is not None
    # Other scores find more than the bound of vae and its kin does, so that one is to be asked for.
    usual = (Autoencoder.score, VariationalAutoencoder.score)
    if is_any_size or variants.get(plan.variant.name).score not in usual:
        return PluginSpec(name="own")
    if plan.latent_dim >= prod(plan.row_shape) and nets.get(plan.net.name).HAS_SKIPS:
        return PluginSpec(name="reconstruction")
    return scores.for_kind(plan.kind)


def _way(prepared: Prepared, folds: Folds | None) -> CalibrationWay:
    if folds is not None:
        return "crossed"
    return "split" if prepared.data.calibration_share else "shared"


def _unseen_scores(
    detector: Detector, prepared: Prepared, folds: Folds | None
) -> NDArray[np.float32]:
    """Returns the scores of normal rows by members that were not trained on them, shape (n,)."""
    at_once = rows_at_once(prepared.plan)
    if folds is None:
        return of_each(detector.score, at_once, prepared.calibration)
    train = prepared.first_view
    assert isinstance(train, np.ndarray)  # noqa: S101 (only rows in memory have folds)
    found = np.empty(len(train), dtype=np.float32)
    for number in range(1, len(detector.members)):
        unseen = folds.left_out_of(number)
        rows = detector.module.scaling.inverse(torch.from_numpy(train[unseen])).numpy()
        found[unseen] = of_each(partial(detector.score_by, number), at_once, rows)
    return found


def _point_calibration(detector: Detector, prepared: Prepared) -> Calibration | None:
    """Returns how the steps of normal series score; `None` for other kinds of data."""
    if prepared.calibration_starts is None:
        return None
    assert isinstance(prepared.calibration, np.ndarray)  # noqa: S101 (series are in memory)
    found = scores_of_steps(
        prepared.calibration,
        prepared.calibration_starts,
        lambda windows: of_each(detector.score, rows_at_once(prepared.plan), windows),
    )
    calibration = Calibration()
    calibration.fit(torch.from_numpy(found.astype(np.float32)), _independent(found, prepared))
    _tell_if_few(calibration, prepared)
    return calibration


def _independent(found: NDArray[np.floating], prepared: Prepared) -> int | None:
    """Returns how many independent scores those of series are worth; `None` for other data.

    Scores of windows that share steps are nearly one number, so there is one for each window of
    steps at most. Series that remember longer than a window lasts are worth less.
    """
    starts = prepared.calibration_starts
    if starts is None:
        return None
    window = prepared.calibration.shape[-1]
    steps = int(np.minimum(np.diff(starts), window).sum()) + window
    numbers = found[np.isfinite(found)]
    return max(1, int(min(steps / window, effective_size(numbers)))) if len(numbers) else 1


def _tell_if_few(calibration: Calibration, prepared: Prepared) -> None:
    if calibration.least_rate > DEFAULT_RATE:
        _logger.warning(
            "%s: the scores of steps are calibrated on %s, as windows of %d overlap; the "
            "smallest false-alarm rate is %.2g: train on more steps, or raise "
            "data.calibration_fraction, for a smaller one",
            *(prepared.data.shown_path, calibration.size("steps")),
            *(prepared.calibration.shape[-1], calibration.least_rate),
        )


def _most_rows(plan: ModelPlan, score: type[Score]) -> int:
    """Returns the number of rows that a score is fitted to at most."""
    width = max(prod(plan.row_shape), plan.latent_dim if score.USES_LATENTS else 1)
    return max(1, min(_MOST_ROWS, _MOST_NUMBERS // width))


def _sample(rows: FloatRows, among: NDArray[np.int64], most: int, seed: int) -> torch.Tensor:
    """Returns the rows of these numbers, or a sample of them if they are many."""
    if len(among) > most:
        among = among[np.sort(np.random.default_rng(seed).choice(len(among), most, replace=False))]
    return torch.from_numpy(rows_at(rows, among))
