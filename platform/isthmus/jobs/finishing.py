"""The end of every training job: turns the best weights into a registered pair and a report."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from isthmus import variants
from isthmus.core import Autoencoder
from isthmus.jobs.code_tables import make_code_tables
from isthmus.jobs.detectors import make_detector
from isthmus.jobs.ensembles import folds_of
from isthmus.jobs.evaluation import (
    Evaluation,
    evaluate,
    not_reconstructed,
)
from isthmus.jobs.held_out import draw_sample
from isthmus.jobs.preparation import Prepared
from isthmus.progress.checkpoints import Progress
from isthmus.progress.result import FitResult
from isthmus.registry import RegisteredPair, Succession, TrainedPair, find_succession, register_pair
from isthmus.scores import Detector
from isthmus.scores.own import Own
from isthmus.spec import ModelPlan, Settings
from isthmus.tracking import NoisyExamples, RunLog, RunReport
from isthmus.tracking.refusal_in_words import refusal_in_words

_logger = logging.getLogger(__name__)
# The most held-out rows, and the most values, on which a pair's ONNX graphs are compared with
# torch.
_ROWS_COMPARED = 256
_NUMBERS_COMPARED = 4_000_000
_UNCHANGED = (
    "none of %d epochs was better than the start, %s, on the validation rows: %s has its weights, "
    "with a threshold from the newer rows; try a lower training.learning_rate"
)


@dataclass(frozen=True)
class Finished:
    """The result of the end of a training job.

    Attributes:
        pair: The registered pair.
        metrics: The metrics, as in `TrainResult`.
        not_reconstructed: The features, as in `TrainResult`.
        refusal: The reason why the gate will refuse the pair, as in `TrainResult`.
    """

    pair: RegisteredPair
    metrics: Mapping[str, float]
    not_reconstructed: tuple[str, ...]
    refusal: str


def finish(
    prepared: Prepared,
    settings: Settings,
    log: RunLog,
    results: Sequence[FitResult],
    began_s: float,
) -> Finished:
    """Makes the detector, evaluates the trained module, draws figures, and registers the pair.

    Args:
        prepared: The prepared job that was trained.
        settings: The settings with the addresses of the stores.
        log: The run that the pair belongs to; the caller must still end it.
        results: The trained weights of the pair, then of the other members of its ensemble.
        began_s: The time at which this attempt at the job began, by `time.monotonic`; the log knows
            how long earlier attempts took.

    Raises:
        RegistryError: If the store cannot be reached.
    """
    modules = [_trained_module(prepared, result) for result in results]
    module, progress = modules[0], results[0].progress
    calibrated = make_detector(prepared, modules, folds_of(prepared))
    evaluation = evaluate(
        *(module, prepared.first_view, prepared.test, prepared.clean_test),
        white=prepared.schema.white,
    )
    succession = find_succession(
        *(prepared.spec.name, module, prepared.data, prepared.validation, prepared.test, settings),
        schema=prepared.schema,
    )
    seconds = log.earlier_s + time.monotonic() - began_s
    metrics = {
        **_metrics(calibrated.detector, evaluation, progress, seconds),
        **_latent_errors(succession),
        **_files_of_threshold(prepared),
    }
    features = not_reconstructed(evaluation.explained, prepared.data)
    log.log_summary(metrics)
    log.log_report(_report(prepared, calibrated.detector, evaluation, progress))
    is_kept = prepared.spec.data.keep_held_out
    trained = TrainedPair(
        detector=calibrated.detector,
        spec=prepared.spec,
        data=prepared.data,
        row_schema=prepared.schema,
        fingerprint=prepared.fingerprint,
        metrics=metrics,
        run_id=log.run_id,
        example=prepared.test[: _rows_compared(prepared.plan)],
        rows=prepared.split_sizes,
        succession=succession,
        not_reconstructed=features,
        held_out=draw_sample(prepared, evaluation.pca, module) if is_kept else None,
        scoring=calibrated.scoring,
        calibration_rows=calibrated.rows,
        calibrated_by=calibrated.way,
        code_tables=make_code_tables(prepared, module),
        started_from=None if prepared.start is None else prepared.start.pair_id,
    )
    pair = register_pair(trained, settings)
    _tell_if_unchanged(prepared, progress, pair)
    return Finished(pair, metrics, features, _refusal(prepared, metrics))


def _refusal(prepared: Prepared, metrics: Mapping[str, float]) -> str:
    return refusal_in_words(metrics, prepared.plan, prepared.spec.promotion)


def _tell_if_unchanged(prepared: Prepared, progress: Progress, pair: RegisteredPair) -> None:
    """Warns if the pair has the weights that its training started with."""
    if prepared.start is not None and progress.best_epoch == 0:
        _logger.warning(_UNCHANGED, progress.epochs, prepared.start.pair.reference, pair)


def _rows_compared(plan: ModelPlan) -> int:
    widest = max(prod(plan.row_shape), plan.latent_dim)
    return max(2, min(_ROWS_COMPARED, _NUMBERS_COMPARED // widest))


def _trained_module(prepared: Prepared, result: FitResult) -> Autoencoder:
    assert result.state is not None  # noqa: S101 (a finished run has saved)
    module = variants.build(prepared.plan)
    module.load_state_dict(result.state)
    return module.eval()


def _metrics(
    detector: Detector, evaluation: Evaluation, progress: Progress, seconds: float
) -> dict[str, float]:
    best, noise = progress.best, evaluation.noise
    return {
        # Of a start that no epoch was better than, the loss on training rows is not known.
        **({"train/loss": best.train["loss"]} if best.train else {}),
        "validation/loss": best.validation["loss"],
        "test/reconstruction_mse": float(evaluation.errors.mean()),
        **_pca_metrics(evaluation),
        **{f"test/{name}": value for name, value in evaluation.metrics.items()},
        **({} if noise is None else {f"test/{name}": each for name, each in noise.metrics.items()}),
        "threshold": float(detector.calibration.threshold),
        "epochs": float(progress.epochs),
        "best_epoch": float(progress.best_epoch),
        "rows_per_s": float(np.median([report.rows_per_s for report in progress.history])),
        "seconds": seconds,
    }


def _pca_metrics(evaluation: Evaluation) -> dict[str, float]:
    errors = evaluation.pca_errors
    return {} if errors is None else {"test/pca_mse": float(errors.mean())}


def _latent_errors(succession: Succession) -> dict[str, float]:
    """Returns the shares of the champion's latent variance that the maps to it do not explain."""
    if succession.alignment is None:
        return {}
    return {f"latent_{kind}_error": each for kind, each in succession.alignment.errors.items()}


def _files_of_threshold(prepared: Prepared) -> dict[str, float]:
    """Returns how many recordings the threshold rests on, if rows are windows of recordings."""
    files = prepared.calibration_files
    return {} if files is None else {"calibration_files": float(files)}


def _report(
    prepared: Prepared, detector: Detector, evaluation: Evaluation, progress: Progress
) -> RunReport:
    labels = prepared.test_labels
    return RunReport(
        plan=prepared.plan,
        inputs=evaluation.inputs,
        reconstructions=evaluation.reconstructions,
        latents=evaluation.latents,
        labels=None if labels is None else labels[: len(evaluation.latents)],
        errors=evaluation.errors,
        pca_errors=evaluation.pca_errors,
        noise=_noisy_examples(evaluation),
        # The figures show reconstruction errors, so they must not show a threshold of other scores.
        threshold=float(detector.calibration.threshold) if _scores_by_error(detector) else math.nan,
        history=progress.with_start,
    )


def _noisy_examples(evaluation: Evaluation) -> NoisyExamples | None:
    found = evaluation.noise
    if found is None:
        return None
    return NoisyExamples(found.clean, found.noisy, found.denoised, found.errors)


def _scores_by_error(detector: Detector) -> bool:
    """Returns whether a row's anomaly score is the reconstruction error of the pair."""
    score = detector.scores[0]
    is_alone = len(detector.members) == 1
    return is_alone and isinstance(score, Own) and score.is_error_of(detector.module)
