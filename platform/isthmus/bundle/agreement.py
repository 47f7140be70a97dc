"""Compares ONNX graphs with torch on real rows, also at batch sizes that were not traced.

Two runtimes add numbers in different orders, so results agree only within a tolerance. Where a pair
makes a discrete choice (a codebook entry, or the side of the threshold), the two may choose
differently for a row that lies on the boundary. Such a row is recognised by torch itself choosing
differently once the row is moved a little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.bundle.manifest import GraphName, onnx_file
from isthmus.core import Autoencoder
from isthmus.data.prepared.centring import centred, restored
from isthmus.scores import Detector

TOLERANCE = 1e-4
"""The tolerance of latents and of rows, as a fraction of the largest value of each."""
SCORE_TOLERANCE = 1e-3
"""The tolerance of a score, as a fraction of the score, of the threshold, or of the threshold's
distance from the usual score, whichever is the largest. It is wider because a score is made of
squared small differences, which have fewer exact digits."""
LEAST_SCORE_TOLERANCE = 1e-7
"""The smallest tolerance of a score: the error of float32 where the score itself is about 0."""
# Of the same score, so that only the rounding of float32 is left.
_P_VALUE_TOLERANCE = 1e-6
# One row, as in a service, and an odd number of rows; all rows are compared too.
_BATCH_SIZES = (1, 7)
# Few rows lie on a boundary; if there are more, the graph is wrong.
_LARGEST_SHARE_ON_EDGES = 0.02
# How far a row is moved, as a fraction of the scale; how often, in random directions; and from what
# distance on, as a fraction of the largest latent, a move of its latent counts as a jump.
_NUDGE = 1e-5
_NUDGES = 16
_JUMP = 1e-3

Floats = NDArray[np.float32]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Disagreement:
    """The difference between a graph and torch.

    Attributes:
        share: The largest difference, as a fraction like the tolerances; infinite if shapes or
            labels differ.
        what: A description of the difference; `None` if it is within the tolerance.
    """

    share: float
    what: str | None


@dataclass(frozen=True)
class Expected:
    """The results of torch that the graphs are compared with.

    Attributes:
        rows: Shape (N, *row_shape), data units less the centre.
        latents: Shape (N, latent_dim).
        decoded: Shape (N, *row_shape), data units less the centre.
        scores: Shape (N,).
        is_anomaly: Shape (N,).
        centre: The value that the graphs subtract from each feature of a row, and add again, if
            any.
    """

    rows: Floats
    latents: Floats
    decoded: Floats
    scores: Floats
    is_anomaly: NDArray[np.bool_]
    centre: tuple[float, ...] | None = None

    def taken_by(self, graph: GraphName) -> NDArray[Any]:
        """Returns what a graph takes: latents or rows, which are float64 with a centre."""
        return self.latents if graph == "decoder" else restored(self.rows, self.centre)


@torch.inference_mode()
def expect(detector: Detector, rows: Floats, centre: tuple[float, ...] | None = None) -> Expected:
    """Computes torch's results for rows of shape (N, *row_shape), which are less the centre."""
    x = torch.from_numpy(np.ascontiguousarray(rows))
    module = detector.module
    latents, scores = module.encode(x), detector.score(x)
    return Expected(
        rows=x.numpy(),
        latents=latents.numpy(),
        decoded=module.decode(latents).numpy(),
        scores=scores.numpy(),
        is_anomaly=detector.calibration.is_anomaly(scores).numpy(),
        centre=centre,
    )


def compare(graph: GraphName, folder: Path, detector: Detector, expected: Expected) -> Disagreement:
    """Runs a graph with onnxruntime on 1, 7 and all rows, and compares it with torch."""
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        NotImplemented,
        RuntimeException,
    )

    worst = Disagreement(0.0, None)
    given = expected.taken_by(graph)
    try:
        session = _session(folder / onnx_file(graph))
        for size in sorted({min(size, len(given)) for size in (*_BATCH_SIZES, len(given))}):
            found = session.run(None, {session.get_inputs()[0].name: given[:size]})
            difference = _difference(graph, found, detector, expected, size)
            if difference.what:
                return difference
            worst = max(worst, difference, key=lambda each: each.share)
    except (Fail, InvalidArgument, InvalidGraph, NotImplemented, RuntimeException) as error:
        return Disagreement(inf, f"onnxruntime fails: {' '.join(str(error).split())[:200]}")
    return worst


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # for a few rows, threads cost more time than they save
    return onnxruntime.InferenceSession(
        str(file), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _difference(
    graph: GraphName, found: list[Floats], detector: Detector, expected: Expected, size: int
) -> Disagreement:
    wanted = {"encoder": expected.latents, "decoder": expected.decoded, "score": expected.scores}
    target = wanted[graph][:size]
    # The other outputs of the score graph, p_value and is_anomaly, have the same shape.
    shapes = [each.shape for each in found]
    if shapes != [target.shape] * (3 if graph == "score" else 1):
        return Disagreement(inf, f"it gives shapes {shapes} where torch gives {target.shape}")
    if graph == "decoder":
        share = _share_of_rows(centred(found[0], expected.centre), target, detector.module)
    elif graph == "encoder":
        share = _distance(found[0], target) / max(_largest(target), 1.0)
    else:
        return _difference_of_scores(found, detector, expected, size)
    shares = share.reshape(len(target), -1).max(axis=1, initial=0.0)
    of = "rows" if graph == "decoder" else "latents"
    if graph == "encoder":
        shares = _without_edges(shares, shares > TOLERANCE, (detector.module,), expected)
    return _judged(shares, TOLERANCE, of)


def _share_of_rows(found: Floats, target: Floats, module: Autoencoder) -> Shares:
    """Returns the differences as fractions, in scaled units, less the rounding of data units."""
    scale = module.scaling.scale.numpy().astype(np.float64)
    scaled = (target.astype(np.float64) - module.scaling.offset.numpy()) / scale
    distance = _distance(found, target)
    with np.errstate(invalid="ignore"):
        beyond = np.maximum(distance - 2 * np.spacing(np.abs(target)), 0)
    # `spacing` of infinity is NaN: two equal infinities have no distance.
    beyond = np.where(distance == 0, 0.0, beyond)
    share: NDArray[np.float64] = beyond / scale / max(_largest(scaled), 1.0)
    return share


def _difference_of_scores(
    found: list[Floats], detector: Detector, expected: Expected, size: int
) -> Disagreement:
    scores, labels = expected.scores[:size].astype(np.float64), expected.is_anomaly[:size]
    threshold = float(detector.calibration.threshold)
    # Of a score in nats, both may be close to 0 by chance; how far normal rows differ never is.
    usual = expected.scores[np.isfinite(expected.scores)]
    width = abs(threshold - float(np.median(usual))) if len(usual) else 0.0
    # fmax, because the threshold is NaN if nothing was calibrated.
    allowed = SCORE_TOLERANCE * np.fmax(np.fmax(np.abs(scores), abs(threshold)), width)
    allowed = np.fmax(allowed, LEAST_SCORE_TOLERANCE)
    shares = _distance(found[0], scores) / allowed * SCORE_TOLERANCE
    # A score that equals the threshold, within the tolerance, may have either label.
    is_mislabelled = (found[2] != labels) & ~(np.abs(scores - threshold) <= allowed)
    shares[is_mislabelled] = inf
    # Computed from the graph's scores, as many normal rows may score within the tolerance of one.
    p_values = detector.calibration.p_values(torch.from_numpy(found[0])).numpy()
    is_said = np.abs(found[1] - p_values) <= _P_VALUE_TOLERANCE
    if not (is_said | np.isnan(found[0])).all():
        return Disagreement(inf, "p_values are not those that torch gives to its scores")
    return _judged(
        _without_edges(shares, shares > SCORE_TOLERANCE, detector.members, expected),
        SCORE_TOLERANCE,
        "scores or labels",
    )


def _distance(found: Floats, target: NDArray[np.floating[Any]]) -> Shares:
    """Returns absolute differences; 0 between two equal infinities or two NaNs."""
    is_same = (found == target) | (np.isnan(found) & np.isnan(target))
    with np.errstate(invalid="ignore"):
        return np.where(is_same, 0.0, np.abs(found.astype(np.float64) - target))


def _largest(values: NDArray[np.floating[Any]]) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _judged(shares: Shares, tolerance: float, of: str) -> Disagreement:
    share = float(shares.max(initial=0.0))
    if share <= tolerance:
        return Disagreement(share, None)
    return Disagreement(share, f"{of} differ by up to {share:.2g}, and {tolerance:g} is allowed")


def _without_edges(
    shares: Shares,
    is_off: NDArray[np.bool_],
    modules: Sequence[Autoencoder],
    expected: Expected,
) -> Shares:
    """Returns the differences, 0 for the few rows that torch decides differently once moved."""
    off = np.flatnonzero(is_off)
    if not len(off) or len(off) > max(1.0, _LARGEST_SHARE_ON_EDGES * len(shares)):
        return shares
    rows = torch.from_numpy(expected.rows)
    is_excused = np.any([_on_edge(module, rows, off) for module in modules], axis=0)
    kept = shares.copy()
    kept[off[is_excused]] = 0.0
    return kept


@torch.inference_mode()
def _on_edge(module: Autoencoder, rows: Tensor, asked: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns for which of the rows asked for a move too small to notice makes the latent jump."""
    generator = torch.Generator().manual_seed(0)
    latents = module.encode(rows)
    largest = _largest(latents.numpy())
    rows, latents = rows[asked], latents[asked]
    jumps = torch.zeros(len(rows), dtype=torch.bool)
    for _ in range(_NUDGES):
        moved = rows + _NUDGE * module.scaling.scale * torch.randn(rows.shape, generator=generator)
        step = (module.encode(moved) - latents).abs().amax(dim=1)
        jumps |= step > _JUMP * max(largest, 1.0)
    return jumps.numpy()
