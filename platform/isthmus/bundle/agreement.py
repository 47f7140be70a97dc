"""Whether ONNX graphs compute what torch does, on real rows, at batch sizes never traced.

Two runtimes add in different orders, so numbers agree within a tolerance. Where a pair decides
(which code of a book, which side of the threshold), a row that lies on the edge itself may fall
to either side; it is known by torch deciding otherwise once the row is moved a little.
"""

from __future__ import annotations

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
from isthmus.core.calibration import QUANTILES

TOLERANCE = 1e-4
"""Of latents and rows, as a share of the largest of each."""
SCORE_TOLERANCE = 1e-3
"""Of a score, as a share of the score or of the threshold, whichever is larger. A score is made of
squared small differences, which has fewer digits than what it is made of."""
LEAST_SCORE_TOLERANCE = 1e-7
"""Of a score, where its own share is less: what float32 leaves of an error of nothing."""
# One step, and what float32 rounds.
_P_VALUE_TOLERANCE = 1.01 / QUANTILES
# One row, as a service would; an odd number of them; and all.
_BATCH_SIZES = (1, 7)
# Rows that lie on an edge are few, or the graph is wrong.
_LARGEST_SHARE_ON_EDGES = 0.02
# How far a row is moved, as a share of the scale; how often, each time elsewhere; and how far its
# latent then moves if it jumps, as a share of the largest.
_NUDGE = 1e-5
_NUDGES = 16
_JUMP = 1e-3

Floats = NDArray[np.float32]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Disagreement:
    """How a graph differs from torch.

    Attributes:
        share: The largest difference, as a share, as the tolerances have it; infinite where shapes
            or labels differ.
        what: The difference in words; `None` if it is within the tolerance.
    """

    share: float
    what: str | None


@dataclass(frozen=True)
class Expected:
    """What torch makes of rows; the graphs are compared with it.

    Attributes:
        rows: Shape (N, *row_shape), data units.
        latents: Shape (N, latent_dim).
        decoded: Shape (N, *row_shape), data units.
        scores: Shape (N,).
        is_anomaly: Shape (N,).
    """

    rows: Floats
    latents: Floats
    decoded: Floats
    scores: Floats
    is_anomaly: NDArray[np.bool_]


@torch.inference_mode()
def expect(module: Autoencoder, rows: Floats) -> Expected:
    """Runs torch on rows, shape (N, *row_shape)."""
    x = torch.from_numpy(np.ascontiguousarray(rows))
    latents, scores = module.encode(x), module.score(x)
    return Expected(
        rows=x.numpy(),
        latents=latents.numpy(),
        decoded=module.decode(latents).numpy(),
        scores=scores.numpy(),
        is_anomaly=module.calibration.is_anomaly(scores).numpy(),
    )


def compare(
    graph: GraphName, folder: Path, module: Autoencoder, expected: Expected
) -> Disagreement:
    """Runs a graph with onnxruntime, by the row, by seven rows and by all, and compares."""
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidArgument,
        InvalidGraph,
        NotImplemented,
        RuntimeException,
    )

    worst = Disagreement(0.0, None)
    given = expected.latents if graph == "decoder" else expected.rows
    try:
        session = _session(folder / onnx_file(graph))
        for size in sorted({min(size, len(given)) for size in (*_BATCH_SIZES, len(given))}):
            found = session.run(None, {session.get_inputs()[0].name: given[:size]})
            difference = _difference(graph, found, module, expected, size)
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
    options.intra_op_num_threads = 1  # a few rows: threads cost more than they give
    return onnxruntime.InferenceSession(
        str(file), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _difference(
    graph: GraphName, found: list[Floats], module: Autoencoder, expected: Expected, size: int
) -> Disagreement:
    wanted = {"encoder": expected.latents, "decoder": expected.decoded, "score": expected.scores}
    target = wanted[graph][:size]
    # The score's other outputs, p_value and is_anomaly, are one number per row as it is.
    shapes = [each.shape for each in found]
    if shapes != [target.shape] * (3 if graph == "score" else 1):
        return Disagreement(inf, f"it gives shapes {shapes} where torch gives {target.shape}")
    if graph == "decoder":
        share = _share_of_rows(found[0], target, module)
    elif graph == "encoder":
        share = _distance(found[0], target) / max(_largest(target), 1.0)
    else:
        return _difference_of_scores(found, module, expected, size)
    shares = share.reshape(len(target), -1).max(axis=1, initial=0.0)
    of = "rows" if graph == "decoder" else "latents"
    if graph == "encoder":
        shares = _without_edges(shares, shares > TOLERANCE, module, expected)
    return _judged(shares, TOLERANCE, of)


def _share_of_rows(found: Floats, target: Floats, module: Autoencoder) -> Shares:
    """In scaled units, and beyond the last digit that the row's own units have."""
    scale = module.scaling.scale.numpy().astype(np.float64)
    scaled = (target.astype(np.float64) - module.scaling.offset.numpy()) / scale
    distance = _distance(found, target)
    with np.errstate(invalid="ignore"):
        beyond = np.maximum(distance - 2 * np.spacing(np.abs(target)), 0)
    # There is no digit after infinity: two that are the same have no distance.
    beyond = np.where(distance == 0, 0.0, beyond)
    share: NDArray[np.float64] = beyond / scale / max(_largest(scaled), 1.0)
    return share


def _difference_of_scores(
    found: list[Floats], module: Autoencoder, expected: Expected, size: int
) -> Disagreement:
    scores, labels = expected.scores[:size].astype(np.float64), expected.is_anomaly[:size]
    threshold = float(module.calibration.threshold)
    # fmax: the threshold is NaN where nothing was calibrated.
    allowed = SCORE_TOLERANCE * np.fmax(np.abs(scores), abs(threshold))
    allowed = np.fmax(allowed, LEAST_SCORE_TOLERANCE)
    shares = _distance(found[0], scores) / allowed * SCORE_TOLERANCE
    # A score that is the threshold itself, to the tolerance, may be called either.
    is_mislabelled = (found[2] != labels) & ~(np.abs(scores - threshold) <= allowed)
    shares[is_mislabelled] = inf
    # By the graph's own scores: many normal rows may score within the tolerance of one.
    p_values = module.calibration.p_values(torch.from_numpy(found[0])).numpy()
    is_said = np.abs(found[1] - p_values) <= _P_VALUE_TOLERANCE
    if not (is_said | np.isnan(found[0])).all():
        return Disagreement(inf, "p_values are not those that torch gives to its scores")
    return _judged(
        _without_edges(shares, shares > SCORE_TOLERANCE, module, expected),
        SCORE_TOLERANCE,
        "scores or labels",
    )


def _distance(found: Floats, target: NDArray[np.floating[Any]]) -> Shares:
    """Between numbers; 0 between two that are both infinite, or both none."""
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
    shares: Shares, is_off: NDArray[np.bool_], module: Autoencoder, expected: Expected
) -> Shares:
    """The shares, 0 for the few rows that torch itself decides otherwise once they are moved."""
    off = np.flatnonzero(is_off)
    if not len(off) or len(off) > max(1.0, _LARGEST_SHARE_ON_EDGES * len(shares)):
        return shares
    rows = torch.from_numpy(expected.rows[off])
    is_excused = _on_edge(module, rows, _largest(expected.latents))
    kept = shares.copy()
    kept[off[is_excused]] = 0.0
    return kept


@torch.inference_mode()
def _on_edge(module: Autoencoder, rows: Tensor, largest: float) -> NDArray[np.bool_]:
    """Whose latent jumps if the row is moved by less than anybody could see."""
    generator = torch.Generator().manual_seed(0)
    latents, jumps = module.encode(rows), torch.zeros(len(rows), dtype=torch.bool)
    for _ in range(_NUDGES):
        moved = rows + _NUDGE * module.scaling.scale * torch.randn(rows.shape, generator=generator)
        step = (module.encode(moved) - latents).abs().amax(dim=1)
        jumps |= step > _JUMP * max(largest, 1.0)
    return jumps.numpy()
