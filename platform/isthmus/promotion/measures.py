"""Measures a pair on held-out rows: one value for each row, for paired resampling."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.bundle.held_out import Floats, squared_errors
from isthmus.data.centring import recentred
from isthmus.promotion.heldout import HeldOut
from isthmus.promotion.intervals import Numbers
from isthmus.registry import Pair

_TIMED_ROUNDS = 7
_TIMED_ROWS = 2048
_TIMED_NUMBERS = 4_000_000
_LONGEST_TIMING_S = 10.0


@dataclass(frozen=True, eq=False)
class Measured:
    """The measurements of a pair on the rows of a `HeldOut`.

    Attributes:
        reference: The pair's name and version.
        errors: Shape (N,). The mean squared reconstruction error of each row, scaled units.
        scores: Shape (N,). The anomaly scores of the held-out rows.
        p_values: Shape (N,). The p-values of these scores.
        is_anomaly: Shape (N,). Whether each score is above the pair's threshold.
        rate: The share of normal rows that the pair's calibration promises to be above it.
        other_scores: Shape (M,). The anomaly scores of the rows with other labels.
        denoised_errors: Shape (N,). The mean squared distance of each row from the pair's
            reconstruction of the row with noise; `None` if the job is not to denoise.
        size_bytes: The size of the weights of both halves.
    """

    reference: str
    errors: Numbers
    scores: Numbers
    p_values: Numbers
    is_anomaly: NDArray[np.bool_]
    rate: float
    other_scores: Numbers
    denoised_errors: Numbers | None
    size_bytes: int


def measure(pair: Pair, held_out: HeldOut, noisy: Floats | None) -> Measured:
    """Measures a pair on the held-out rows.

    Args:
        pair: The pair.
        held_out: The rows.
        noisy: The same rows with noise, if the job is to denoise.
    """
    found = pair.detect(_given_to(pair, held_out.rows, held_out), as_read=True)
    others: Floats = np.empty(0, dtype=np.float32)
    if len(held_out.others):
        scored = pair.detect(_given_to(pair, held_out.others, held_out), as_read=True)
        others = scored.scores
    return Measured(
        reference=pair.reference,
        errors=errors_of(_reconstructed(pair, held_out.rows, held_out), held_out),
        scores=found.scores.astype(np.float64),
        p_values=found.p_values.astype(np.float64),
        is_anomaly=found.anomalies,
        rate=pair.detector.calibration.rate,
        other_scores=others.astype(np.float64),
        denoised_errors=None
        if noisy is None
        else errors_of(_reconstructed(pair, noisy, held_out), held_out),
        size_bytes=_size_bytes(pair),
    )


def _given_to(pair: Pair, rows: Floats, held_out: HeldOut) -> Floats:
    """Returns rows less the pair's own centre instead of the challenger's."""
    return recentred(rows, held_out.centre, pair.manifest.rows_taken.centre)


def _reconstructed(pair: Pair, rows: Floats, held_out: HeldOut) -> Floats:
    made = pair.reconstruct(_given_to(pair, rows, held_out), as_read=True)
    return recentred(made, pair.manifest.rows_taken.centre, held_out.centre)


def errors_of(made: Floats, held_out: HeldOut) -> Numbers:
    """Returns the mean squared distance of each held-out row from an output, shape (N,).

    The distances are in the units of the challenger's scaling. Missing values are ignored.
    """
    return squared_errors(made, held_out.rows, held_out.own.scale)


def own_errors(pair: Pair, held_out: HeldOut) -> Numbers:
    """Returns the challenger's reconstruction errors on its own sample, shape (P,)."""
    own = held_out.own
    return squared_errors(_reconstructed(pair, own.rows, held_out), own.rows, own.scale)


def spread_of(held_out: HeldOut) -> Numbers:
    """Returns the mean squared distance of each held-out row from the mean of all, shape (N,)."""
    mean = np.nanmean(held_out.rows, axis=0, dtype=np.float64).astype(np.float32)
    return errors_of(np.broadcast_to(mean, held_out.rows.shape), held_out)


def with_noise(pair: Pair, held_out: HeldOut) -> Floats | None:
    """Returns the held-out rows with the noise of the challenger's job; `None` if it has none."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(held_out.seed)
        noised = pair.module.noised(torch.from_numpy(held_out.scaled(held_out.rows)))
    if noised is None:
        return None
    return np.asarray(noised.numpy() * held_out.own.scale + held_out.own.offset, dtype=np.float32)


def seconds_in_turns(pairs: tuple[Pair, ...], held_out: HeldOut) -> NDArray[np.float64]:
    """Measures in turns how long each pair takes to encode and decode the same rows.

    Returns:
        Shape (rounds, pairs), seconds per row.
    """
    width = prod(held_out.rows.shape[1:])
    wanted = max(1, min(_TIMED_ROWS, _TIMED_NUMBERS // width))
    rows = np.resize(held_out.rows, (wanted, *held_out.rows.shape[1:]))
    for pair in pairs:
        pair.reconstruct(
            rows, as_read=True
        )  # a warm-up: later calls reuse what the first one creates
    rounds: list[list[float]] = []
    began_s = time.perf_counter()
    while len(rounds) < _TIMED_ROUNDS:
        taken = []
        for pair in pairs:
            start_s = time.perf_counter()
            pair.decode(pair.encode(rows, as_read=True))
            taken.append((time.perf_counter() - start_s) / wanted)
        rounds.append(taken)
        if time.perf_counter() - began_s > _LONGEST_TIMING_S:
            break
    return np.array(rounds)


def _size_bytes(pair: Pair) -> int:
    parts = {*pair.module.ENCODER_PARTS, *pair.module.DECODER_PARTS}
    return sum(
        tensor.numel() * tensor.element_size()
        for name, tensor in pair.module.state_dict().items()
        if name.partition(".")[0] in parts
    )
