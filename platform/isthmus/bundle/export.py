"""Exports a pair as ONNX graphs, and refuses a graph whose results differ from torch's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.bundle.agreement import (
    SCORE_TOLERANCE,
    TOLERANCE,
    Disagreement,
    Expected,
    compare,
    expect,
)
from isthmus.bundle.graphs import OPSET, Exporter, Graph, graphs_of, is_large, write_graph
from isthmus.bundle.manifest import GraphName, OnnxExport
from isthmus.data import sha256_of
from isthmus.errors import RegistryError, first_line
from isthmus.scores import Detector


@dataclass(frozen=True)
class Exported:
    """The exported graphs of a pair, on disk.

    Attributes:
        files: The files of each graph: the ONNX file and, if the graph is large, the file of its
            weights.
        record: The section about the graphs for `pair.json`.
    """

    files: Mapping[GraphName, tuple[Path, ...]]
    record: OnnxExport


def export_graphs(
    detector: Detector,
    rows: NDArray[np.float32],
    folder: Path,
    *,
    fills_missing: bool = False,
    centre: tuple[float, ...] | None = None,
) -> Exported:
    """Writes the graphs of a pair and compares each with torch.

    Args:
        detector: The detector with the pair's autoencoder, fitted and calibrated, on the CPU.
        rows: Shape (N >= 2, *row_shape), data units less the centre. The held-out rows to compare
            on.
        folder: The folder for the graphs. It is created.
        fills_missing: Whether the mean stands for a missing value (NaN).
        centre: The value that the graphs are to subtract from each feature of a row, if any.

    Raises:
        RegistryError: If a graph cannot be written, or differs from torch.
    """
    detector.eval()
    folder.mkdir()
    expected = expect(detector, rows, centre)
    files: dict[GraphName, tuple[Path, ...]] = {}
    differences: dict[GraphName, float] = {}
    for graph in graphs_of(detector, fills_missing=fills_missing, centre=centre):
        files[graph.name], differences[graph.name] = _export(graph, detector, expected, folder)
    written = [file for each in files.values() for file in each]
    record = OnnxExport(
        sha256={file.name: sha256_of(file) for file in written},
        opset=OPSET,
        tolerance=TOLERANCE,
        score_tolerance=SCORE_TOLERANCE,
        checked_rows=len(rows),
        largest_differences=differences,
    )
    return Exported(files, record)


def _export(
    graph: Graph, detector: Detector, expected: Expected, folder: Path
) -> tuple[tuple[Path, ...], float]:
    """Tries the fast exporter and then the thorough one; raises if neither gives a right graph."""
    exporters: tuple[Exporter, ...] = ("captured",) if is_large(graph) else ("traced", "captured")
    example = torch.from_numpy(expected.taken_by(graph.name))
    found = Disagreement(float("inf"), None)
    for exporter in exporters:
        try:
            files = write_graph(graph, example, folder, exporter)
        except (RuntimeError, TypeError, ValueError) as error:
            found = Disagreement(found.share, f"torch cannot export it: {first_line(error, 200)}")
            continue
        found = compare(graph.name, folder, detector, expected)
        if found.what is None:
            return files, found.share
    plan = detector.module.plan
    raise RegistryError(
        f"the ONNX export of the {graph.name} is not what was trained ({plan.variant.name} over "
        f"{plan.net.name}): {found.what}; nothing is registered, please report it"
    )
