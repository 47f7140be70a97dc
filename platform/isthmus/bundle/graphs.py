"""A pair as ONNX graphs: encoder, decoder and score. All use data units and any batch size.

Rows are float32. The rows of a pair with a centre are float64, because float32 could not tell them
apart; the graph subtracts the centre before all else, and adds it to what it decodes.

There are two exporters. torch's older one takes 0.1 s for a graph and its newer one 1.5 to 6 s,
which would be a large part of a short job. The newer one is therefore used only where the older one
fails or gives a wrong graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from isthmus.bundle.manifest import ONNX_DATA_SUFFIX, GraphName, onnx_file
from isthmus.core import Autoencoder
from isthmus.scores import Detector

OPSET = 18
"""The version of the ONNX operators. onnxruntime supports it since 1.14, of 2023."""
Exporter = Literal["traced", "captured"]
_TRACED_ROWS = 2  # not 1, which an exporter may take for a constant
# A protobuf file cannot exceed 2 GiB, so the weights of a larger graph get a file of their own.
_MOST_BYTES_IN_A_GRAPH = 1_900_000_000


@dataclass(frozen=True)
class Graph:
    """The content of an ONNX file.

    Attributes:
        name: The file name without its suffix.
        module: The module that is exported.
        takes: The name of the input.
        gives: The names of the outputs.
    """

    name: GraphName
    module: nn.Module
    takes: str
    gives: tuple[str, ...]


def graphs_of(
    detector: Detector, *, fills_missing: bool, centre: tuple[float, ...] | None = None
) -> tuple[Graph, Graph, Graph]:
    """Returns the graphs of a pair: the encoder, the decoder, and the score of rows.

    Args:
        detector: The detector with the pair's autoencoder.
        fills_missing: Whether the mean stands for a missing value (NaN). If it does not, the score
            of a row with one is NaN, which counts as an anomaly.
        centre: The value that is subtracted from each feature of a row, if one is.
    """
    module = detector.module
    encoder, decoder = _Encoder(module), _Decoder(module)
    score = _Score(detector, fills_missing=fills_missing)
    if centre is None:
        halves: tuple[nn.Module, ...] = (encoder, decoder, score)
    else:
        # The features are the first axis of a row; the rows of a series have a second.
        axes = (-1, *[1] * (len(module.plan.row_shape) - 1))
        centre_1F = torch.tensor(centre, dtype=torch.float64).reshape(1, *axes)
        halves = (
            _OfCentred(encoder, centre_1F),
            _Restored(decoder, centre_1F),
            _OfCentred(score, centre_1F),
        )
    return (
        Graph("encoder", halves[0], "row", ("latent",)),
        Graph("decoder", halves[1], "latent", ("row",)),
        Graph("score", halves[2], "row", ("score", "p_value", "is_anomaly")),
    )


def write_graph(
    graph: Graph, example: Tensor, folder: Path, exporter: Exporter
) -> tuple[Path, ...]:
    """Writes the files of a graph.

    Args:
        graph: The graph to write.
        example: Input rows, at least two.
        folder: The folder for the files.
        exporter: `traced` is fast; `captured` supports more operations, and large models.

    Returns:
        The ONNX file and, if the graph exceeds the size limit of such a file, the file of its
        weights.

    Raises:
        RuntimeError: If the exporter fails.
    """
    file = folder / onnx_file(graph.name)
    with warnings.catch_warnings(), torch.no_grad(), _quiet_exporter():
        # The warnings are about values that tracing makes constant. The comparison with torch would
        # reveal those.
        warnings.simplefilter("ignore")
        if exporter == "traced":
            _trace(graph, example[:_TRACED_ROWS], file)
        else:
            _capture(graph, example[:_TRACED_ROWS], file, is_large=is_large(graph))
    weights = file.with_name(file.name + ONNX_DATA_SUFFIX)
    return (file, weights) if weights.exists() else (file,)


def is_large(graph: Graph) -> bool:
    """Returns whether a graph's weights need a file of their own."""
    tensors = [*graph.module.parameters(), *graph.module.buffers()]
    return sum(each.nbytes for each in tensors) > _MOST_BYTES_IN_A_GRAPH


def _trace(graph: Graph, example: Tensor, file: Path) -> None:
    torch.onnx.export(
        graph.module.eval(),
        (example,),
        str(file),
        input_names=[graph.takes],
        output_names=list(graph.gives),
        dynamic_axes={name: {0: "rows"} for name in (graph.takes, *graph.gives)},
        opset_version=OPSET,
        dynamo=False,
    )


def _capture(graph: Graph, example: Tensor, file: Path, *, is_large: bool) -> None:
    program = torch.onnx.export(
        graph.module.eval(),
        (example,),
        input_names=[graph.takes],
        output_names=list(graph.gives),
        dynamic_shapes=({0: torch.export.Dim("rows")},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # noqa: S101 (as dynamo=True gives one)
    program.save(str(file), external_data=is_large)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silences the exporter's log; if it fails, the error contains what the log would say."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _OfCentred(nn.Module):
    """A graph that takes rows of float64, and subtracts the centre before they become float32."""

    def __init__(self, inner: nn.Module, centre_1F: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.centre: Tensor
        self.register_buffer("centre", centre_1F)

    def forward(self, row: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.inner((row - self.centre).float())  # type: ignore[no-any-return]


class _Restored(nn.Module):
    """A graph that gives rows of float64, with the centre added again."""

    def __init__(self, inner: nn.Module, centre_1F: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.centre: Tensor
        self.register_buffer("centre", centre_1F)

    def forward(self, latent: Tensor) -> Tensor:
        restored: Tensor = self.inner(latent).double() + self.centre
        return restored


class _Encoder(nn.Module):
    def __init__(self, pair: Autoencoder) -> None:
        super().__init__()
        self.pair = pair

    def forward(self, row: Tensor) -> Tensor:
        return self.pair.encode(row)


class _Decoder(nn.Module):
    def __init__(self, pair: Autoencoder) -> None:
        super().__init__()
        self.pair = pair

    def forward(self, latent: Tensor) -> Tensor:
        return self.pair.decode(latent)


class _Score(nn.Module):
    """The score of rows, with all that the detector holds."""

    def __init__(self, detector: Detector, *, fills_missing: bool) -> None:
        super().__init__()
        self.detector = detector
        self._fills_missing = fills_missing
        self._score: Callable[[Tensor], Tensor] = detector.exportable_score()
        self._p_values = detector.calibration.exportable()
        self._threshold = detector.calibration.threshold

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        score = self._score(row)
        is_wrong = torch.isinf(row) if self._fills_missing else ~(row.abs() < torch.inf)
        has_wrong = is_wrong.flatten(1).any(dim=1)
        score = torch.where(has_wrong, torch.full_like(score, torch.nan), score)
        is_anomaly = (score > self._threshold) | torch.isnan(score)
        return score, self._p_values(score), is_anomaly
