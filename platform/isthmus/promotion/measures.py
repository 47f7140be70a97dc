"""Measures a pair on held-out rows: one value for each row, for paired resampling."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from isthmus import nets
from isthmus.bundle.held_out import Floats, squared_errors
from isthmus.core.noise_reduction import Measure, drawn_noise, measure_for
from isthmus.data.units import in_units_of
from isthmus.promotion.code_lengths import CodeLengths, code_lengths
from isthmus.promotion.heldout import HeldOut
from isthmus.promotion.intervals import Numbers
from isthmus.registry import Detections, Pair
from isthmus.types import DataKind

_TIMED_ROUNDS = 7
_TIMED_ROWS = 2048
_TIMED_NUMBERS = 4_000_000
_LONGEST_TIMING_S = 10.0
# Seven rounds of a small pair take milliseconds, which a busy machine may take from one of the two
# alone. A pair that seems this many times slower than the other is therefore timed for longer.
_SEEMS_SLOWER = 1.5
_SECOND_LOOK_S = 2.0


@dataclass(frozen=True, eq=False)
class Measured:
    """The measurements of a pair on the rows of a `HeldOut`.

    Attributes:
        reference: The pair's name and version.
        errors: Shape (N,). The mean squared reconstruction error of each row, scaled units; if the
            job is to denoise, the distance of what it makes of the row with noise from the row
            without.
        scores: Shape (N,). The anomaly scores of the held-out rows; empty if they are smaller than
            the patches that the pair scores.
        p_values: Shape (N,). The p-values of these scores.
        is_anomaly: Shape (N,). Whether each score is above the pair's threshold.
        rate: The share of normal rows that the pair's calibration promises to be above it.
        other_scores: Shape (M,). The anomaly scores of the rows with other labels.
        denoised: Shape (N,). The number of each denoised row, by the measure of its kind of data;
            `None` if the job is not to denoise.
        size_bytes: The size of the weights of both halves.
        code_lengths: The bits that the rows need in a compressed file; `None` if the pair does not
            compress, or if they are no rows of its own shape.
    """

    reference: str
    errors: Numbers
    scores: Numbers
    p_values: Numbers
    is_anomaly: NDArray[np.bool_]
    rate: float
    other_scores: Numbers
    denoised: Numbers | None
    size_bytes: int
    code_lengths: CodeLengths | None = None


@dataclass(frozen=True, eq=False)
class NoiseTask:
    """Rows with noise, from which it is to be taken.

    Attributes:
        noisy: Shape (N, *row_shape), data units.
        clean: The same rows without noise.
        measure: The measure of what is made of them.
        before: Shape (N,). The number of each row with noise by the measure.
    """

    noisy: Floats
    clean: Floats
    measure: Measure
    before: Numbers

    def numbers(self, made: Floats, held_out: HeldOut) -> Numbers:
        """Returns the number of each row of an output by the measure, shape (N,)."""
        clean, made = held_out.scaled(self.clean), held_out.scaled(made)
        return self.measure.of_outputs(made, clean, self.before, held_out.own.peak)


def measure(pair: Pair, held_out: HeldOut, task: NoiseTask | None) -> Measured:
    """Measures a pair on the held-out rows.

    Args:
        pair: The pair.
        held_out: The rows.
        task: The same rows with noise, if the job is to denoise.
    """
    given, wanted = (held_out.rows, held_out.rows) if task is None else (task.noisy, task.clean)
    made = _reconstructed(pair, given, held_out)
    found = _scored(pair, held_out.rows, held_out)
    others: Floats = np.empty(0, dtype=np.float32)
    if len(held_out.others):
        others = _scored(pair, held_out.others, held_out).scores
    return Measured(
        reference=pair.reference,
        errors=squared_errors(made, wanted, held_out.own.scale),
        scores=found.scores.astype(np.float64),
        p_values=found.p_values.astype(np.float64),
        is_anomaly=found.anomalies,
        rate=pair.detector.calibration.rate,
        other_scores=others.astype(np.float64),
        denoised=None if task is None else task.numbers(made, held_out),
        size_bytes=_size_bytes(pair),
        code_lengths=code_lengths(pair, _given_to(pair, held_out.rows, held_out)),
    )


def _scored(pair: Pair, rows: Floats, held_out: HeldOut) -> Detections:
    """Scores rows; of images that are larger than the pair's patches, the first patch of each."""
    shape = pair.manifest.plan.row_shape
    own = np.ascontiguousarray(rows[(slice(None), *map(slice, shape))])
    if own.shape[1:] != shape:
        own = np.empty((0, *shape), dtype=np.float32)
    return pair.detect(_given_to(pair, own, held_out), as_read=True)


def _given_to(pair: Pair, rows: Floats, held_out: HeldOut) -> Floats:
    """Returns rows in the pair's own units instead of the challenger's."""
    return in_units_of(rows, held_out.schema, pair.manifest.rows_taken)


def _reconstructed(pair: Pair, rows: Floats, held_out: HeldOut) -> Floats:
    made = pair.reconstruct(_given_to(pair, rows, held_out), as_read=True)
    return in_units_of(made, pair.manifest.rows_taken, held_out.schema)


def on_own_sample(pair: Pair, held_out: HeldOut) -> tuple[Numbers, Numbers | None]:
    """Measures the challenger on its own sample, for which the figures of PCA and filter are.

    Returns:
        The mean squared error of each row, shape (P,), and, if the job is to denoise, the number of
        each denoised row by the measure of its kind of data.
    """
    own = held_out.own
    task = noise_task(pair, own.rows, own.clean, held_out) if own.is_of_noisy else None
    if task is None:
        return squared_errors(_reconstructed(pair, own.rows, held_out), own.rows, own.scale), None
    made = _reconstructed(pair, task.noisy, held_out)
    return squared_errors(made, task.clean, own.scale), task.numbers(made, held_out)


def at_weakest(pair: Pair, held_out: HeldOut) -> tuple[Numbers, Numbers] | None:
    """Measures the challenger on rows with the weakest noise of its range.

    A bottleneck loses more of a row than weak noise does, whatever it has learned. Such pairs are
    also for features and anomalies, so training alone says what it costs.

    Returns:
        The number of each row with noise, shape (N,), and of what is made of it; `None` if there
        is no range, the net has a bottleneck, or the noise is in the data.
    """
    if held_out.clean is not None or not nets.get(pair.manifest.plan.net.name).HAS_SKIPS:
        return None
    task = noise_task(pair, held_out.rows, None, held_out, weakest=True)
    if task is None or not np.isfinite(task.before).any():
        return None
    return task.before, task.numbers(_reconstructed(pair, task.noisy, held_out), held_out)


def spread_of(held_out: HeldOut) -> Numbers:
    """Returns the mean squared distance of each held-out row from the mean of all, shape (N,)."""
    mean = np.nanmean(held_out.rows, axis=0, dtype=np.float64).astype(np.float32)
    rows = held_out.rows
    return squared_errors(np.broadcast_to(mean, rows.shape), rows, held_out.own.scale)


def noise_task(
    pair: Pair, rows: Floats, clean: Floats | None, held_out: HeldOut, *, weakest: bool = False
) -> NoiseTask | None:
    """Returns rows with the noise that the challenger takes away; `None` if it takes none.

    Args:
        pair: The challenger.
        rows: The rows, data units.
        clean: The rows without noise, where they have noise of their own; else it is drawn.
        held_out: The held-out rows, for their scaling and the seed of the noise.
        weakest: Whether the noise that is drawn is the weakest of a range, not the strongest.
    """
    noisy = rows
    if clean is None:
        clean = rows
        drawn = drawn_noise(pair.module, held_out.scaled(rows), held_out.seed, weakest=weakest)
        if drawn is None:
            return None
        noisy = (drawn * held_out.own.scale + held_out.own.offset).astype(np.float32)
    measure_of_kind = measure_for(DataKind(pair.manifest.plan.kind))
    of_rows = measure_of_kind.of_noisy if weakest else measure_of_kind.numbers
    before = of_rows(held_out.scaled(noisy), held_out.scaled(clean), held_out.own.peak)
    return NoiseTask(noisy, clean, measure_of_kind, before)


def seconds_in_turns(pairs: tuple[Pair, ...], held_out: HeldOut) -> NDArray[np.float64]:
    """Measures in turns how long each pair takes to encode and decode the same rows.

    A first pair that seems slower than the last one is timed for longer.

    Returns:
        Shape (rounds, pairs), seconds per row.
    """
    width = prod(held_out.rows.shape[1:])
    wanted = max(1, min(_TIMED_ROWS, _TIMED_NUMBERS // width))
    rows = np.resize(held_out.rows, (wanted, *held_out.rows.shape[1:]))
    is_of_all = all(rows.shape[1:] == pair.manifest.plan.row_shape for pair in pairs)
    for pair in pairs:
        # A warm-up: later calls reuse what the first one creates.
        pair.reconstruct(rows, as_read=True)
    rounds: list[list[float]] = []
    began_s = time.perf_counter()
    while len(rounds) < _TIMED_ROUNDS or _is_to_be_timed_on(rounds, began_s):
        taken = []
        for pair in pairs:
            start_s = time.perf_counter()
            if is_of_all:
                pair.decode(pair.encode(rows, as_read=True))
            else:
                pair.reconstruct(rows, as_read=True)
            taken.append((time.perf_counter() - start_s) / wanted)
        rounds.append(taken)
        if time.perf_counter() - began_s > _LONGEST_TIMING_S:
            break
    return np.array(rounds)


def _is_to_be_timed_on(rounds: list[list[float]], began_s: float) -> bool:
    """Returns whether the first pair still seems slower and there is time for another round."""
    fastest = np.array(rounds).min(axis=0)
    seems_slower = fastest[0] > _SEEMS_SLOWER * fastest[-1]
    return bool(seems_slower) and time.perf_counter() - began_s < _SECOND_LOOK_S


def _size_bytes(pair: Pair) -> int:
    parts = {*pair.module.ENCODER_PARTS, *pair.module.DECODER_PARTS}
    return sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in pair.module.state_dict().items()
        if name.partition(".")[0] in parts
    )
