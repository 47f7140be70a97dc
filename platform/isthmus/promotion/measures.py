"""What one pair is worth on held-out rows: a number for each row, to be resampled in pairs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.promotion.bootstrap import Numbers
from isthmus.promotion.heldout import Floats, HeldOut
from isthmus.registry import Pair

_TIMED_ROUNDS = 7
_TIMED_ROWS = 2048
_TIMED_NUMBERS = 4_000_000
_LONGEST_TIMING_S = 10.0


@dataclass(frozen=True, eq=False)
class Measured:
    """A pair's figures on the rows of a `HeldOut`.

    Attributes:
        reference: Name and version.
        errors: Shape (N,). Mean squared reconstruction error of each row, scaled units.
        scores: Shape (N,). Its anomaly scores of the held-out rows.
        p_values: Shape (N,). Theirs.
        is_anomaly: Shape (N,). Whether they are above its threshold.
        other_scores: Shape (M,). Its scores of the rows with other labels.
        denoised_errors: Shape (N,). Mean squared distance of each row from what it makes of the
            row with noise; `None` where the job is not to take noise away.
        size_bytes: Of the weights of both halves.
    """

    reference: str
    errors: Numbers
    scores: Numbers
    p_values: Numbers
    is_anomaly: NDArray[np.bool_]
    other_scores: Numbers
    denoised_errors: Numbers | None
    size_bytes: int


def measure(pair: Pair, held_out: HeldOut, noisy: Floats | None) -> Measured:
    """Puts the held-out rows through a pair.

    Args:
        pair: Which.
        held_out: The rows.
        noisy: The same rows with noise, where the job is to take it away.
    """
    found = pair.detect(held_out.rows)
    others = pair.detect(held_out.others).scores if len(held_out.others) else np.empty(0)
    return Measured(
        reference=pair.reference,
        errors=errors_of(pair.reconstruct(held_out.rows), held_out),
        scores=found.scores.astype(np.float64),
        p_values=found.p_values.astype(np.float64),
        is_anomaly=found.anomalies,
        other_scores=others.astype(np.float64),
        denoised_errors=None if noisy is None else errors_of(pair.denoise(noisy), held_out),
        size_bytes=_size_bytes(pair),
    )


def errors_of(made: Floats, held_out: HeldOut) -> Numbers:
    """Mean squared distance of each held-out row from what was made of it, shape (N,).

    In the units of the challenger's scaling; missing values count for nothing.
    """
    difference = (made - held_out.rows) / held_out.scale
    flat = difference.reshape(len(difference), -1)
    return np.asarray(np.nanmean(flat**2, axis=1, dtype=np.float64))


def pca_errors(held_out: HeldOut) -> Numbers:
    """The same of PCA."""
    scaled = np.nan_to_num(held_out.scaled(held_out.rows), nan=0.0)
    made = held_out.pca.reconstruct(scaled) * held_out.scale + held_out.offset
    return errors_of(made.astype(np.float32), held_out)


def with_noise(pair: Pair, held_out: HeldOut) -> Floats | None:
    """The held-out rows with the noise of the challenger's job; `None` if it has none."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(held_out.seed)
        noised = pair.module.noised(torch.from_numpy(held_out.scaled(held_out.rows)))
    if noised is None:
        return None
    return np.asarray(noised.numpy() * held_out.scale + held_out.offset, dtype=np.float32)


def seconds_in_turns(pairs: tuple[Pair, ...], held_out: HeldOut) -> NDArray[np.float64]:
    """Seconds that each pair takes to encode and decode the same rows, measured in turns.

    Returns:
        Shape (rounds, pairs), for each row.
    """
    width = prod(held_out.rows.shape[1:])
    wanted = max(1, min(_TIMED_ROWS, _TIMED_NUMBERS // width))
    rows = np.resize(held_out.rows, (wanted, *held_out.rows.shape[1:]))
    for pair in pairs:
        pair.reconstruct(rows)  # the first call makes what later ones find
    rounds: list[list[float]] = []
    began_s = time.perf_counter()
    while len(rounds) < _TIMED_ROUNDS:
        taken = []
        for pair in pairs:
            start_s = time.perf_counter()
            pair.decode(pair.encode(rows))
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
