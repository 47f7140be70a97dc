"""Describes, for a pair's card, its score, its false-alarm rate and the rows behind both."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.bundle.manifest import CalibrationWay, DetectorRecord, PairManifest

# With fewer rows than that, the rate of one calibration is between half the promise and twice it
# in fewer than 19 of 20 cases, by the Beta law at 1 %.
_ROUGH_BELOW_ROWS = 1000
_WAYS: Mapping[CalibrationWay, str] = {
    "split": "which nothing was trained or chosen on",
    "crossed": "each scored by the members of the ensemble that were not trained on it; the "
    "whole ensemble scores new rows, so the rate is kept nearly and not exactly",
    "shared": "which also chose the epoch, so that new normal rows may be flagged more often",
}


def detector_in_words(manifest: PairManifest) -> str:
    """Returns a line about the score: which it is, of how many members, and what it takes."""
    record = manifest.detector
    line = f"Anomaly score: `{record.scoring.name}`"
    if record.members > 1:
        line += f", the mean of {record.members} autoencoders"
    if record.size_bytes:
        line += f"; {_size(record.size_bytes)} beside the pair"
    if "memory" in record.scoring.options:
        line += ", which hold training rows, or centres of many, that new rows are compared with"
    return f"{line}."


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2g} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.2g} kB"


def calibration_in_words(manifest: PairManifest) -> str | None:
    """Returns a line about the threshold; `None` if the pair does not say what it is."""
    # It loads torch.
    from isthmus.core.calibration import DEFAULT_RATE, error_in_words, largest_error

    threshold, record = manifest.metrics.get("threshold"), manifest.detector
    if threshold is None:
        return None
    count = record.calibration_rows or manifest.rows.get("validation", 0)
    which = f"{count:,} rows" if count else "held-out rows"
    rate = max(DEFAULT_RATE, 1 / (count + 1)) if record.calibration_rows else DEFAULT_RATE
    line = (
        f"Scores are calibrated on {which}, taken to be normal, {_WAYS[record.calibrated_by]}. "
        f"{100 * rate:.3g} % of such rows score above {threshold:.4g} and would be false alarms; "
        "the promise holds on average over draws of these rows, for rows of the same distribution."
    )
    error = largest_error(record.calibration_rows)
    if error is not None:
        said = error_in_words(error)
        line += f" {said[0].upper()}{said[1:]}."
    if record.calibration_steps:
        line += _steps_in_words(record)
    if count and count < _ROUGH_BELOW_ROWS:
        line += f" That rests on {max(round(count * rate), 1)} of them: it is rough."
    if is_of_one_file(manifest.metrics):
        line += (
            " All of them are windows of one file, so the threshold is that of one recording: "
            "normal windows of other files may score above it. Train with more files to hold "
            "out several."
        )
    return line


def _steps_in_words(record: DetectorRecord) -> str:
    """Returns what the calibration of single steps of series rests on."""
    from isthmus.core.calibration import DEFAULT_RATE  # it loads torch

    rate = max(DEFAULT_RATE, 1 / (record.independent_steps + 1))
    return (
        f" Single steps are calibrated on {record.calibration_steps:,} steps, worth about "
        f"{record.independent_steps:,} independent ones, because windows overlap: by default "
        f"{100 * rate:.3g} % of normal steps are false alarms."
    )


def is_of_one_file(metrics: Mapping[str, float]) -> bool:
    """Returns whether a threshold rests on the windows of a single recording."""
    # Pairs of before there were calibration rows counted the files of the validation rows.
    return 1 in (metrics.get("calibration_files"), metrics.get("validation_files"))
