"""The score of a pair as an MLflow model: `models:/digits-decoder@champion/data/pair`.

It lies in the decoder's artifact, beside the ONNX graph that it runs, so it is promoted with the
pair and takes no room of its own. `mlflow models serve` serves it. MLflow imports this module by
the name in the artifact and calls `_load_pyfunc`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from isthmus.bundle.manifest import PairManifest, onnx_file, read_manifest
from isthmus.data import sha256_of
from isthmus.errors import RegistryError
from isthmus.registry.artifacts import library_versions, pip_requirements

_BATCH_ROWS = 4096


class _Score:
    """The model that MLflow calls."""

    def __init__(self, graph: Path, manifest: PairManifest) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(graph))
        self._shape = manifest.plan.row_shape
        centred = manifest.rows_taken.centre is not None
        self._dtype = np.float64 if centred else np.float32

    def predict(self, model_input: Any, params: Any = None) -> pd.DataFrame:
        """Scores rows (N, *row_shape).

        Returns:
            A row for each: `score`, `p_value`, and `anomaly` at the pair's own false-alarm rate.
        """
        if isinstance(model_input, dict):
            model_input = next(iter(model_input.values()))
        rows = np.asarray(model_input, dtype=self._dtype).reshape(-1, *self._shape)
        given = self._session.get_inputs()[0].name
        parts = [
            self._session.run(None, {given: rows[start : start + _BATCH_ROWS]})
            for start in range(0, len(rows), _BATCH_ROWS)
        ]
        score, p_value, anomaly = (
            (np.concatenate(column) for column in zip(*parts, strict=True))
            if parts
            else (np.empty(0, np.float32), np.empty(0, np.float32), np.empty(0, bool))
        )
        return pd.DataFrame({"score": score, "p_value": p_value, "anomaly": anomaly})


def write_score_model(content: Path, manifest: PairManifest, example: NDArray[Any]) -> None:
    """Makes the folder of a decoder's content a model too, which scores rows.

    Args:
        content: The folder, which holds `pair.json` and the graph.
        manifest: The pair's manifest.
        example: Rows (N, *row_shape), in the type that the pair takes.
    """
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    taken = Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]), "row")])
    given = Schema(
        [
            ColSpec(DataType.float, "score"),
            ColSpec(DataType.float, "p_value"),
            ColSpec(DataType.boolean, "anomaly"),
        ]
    )
    with tempfile.TemporaryDirectory(dir=content.parent) as name:
        model = Path(name) / "model"
        pyfunc.save_model(
            path=str(model),
            loader_module="isthmus.registry.score_model",
            mlflow_model=Model(run_id=manifest.run_id),
            signature=ModelSignature(taken, given),
            input_example=example,
            pip_requirements=pip_requirements(library_versions()),
            metadata={"isthmus.pair_id": manifest.pair_id, "isthmus.half": "decoder"},
        )
        shutil.copytree(model, content, dirs_exist_ok=True)


def _load_pyfunc(path: str) -> _Score:
    folder = Path(path)
    manifest = read_manifest(folder)
    graph = folder / onnx_file("score")
    recorded = {} if manifest.onnx is None else manifest.onnx.sha256
    for name, sha256 in recorded.items():
        if name.startswith(graph.name) and sha256_of(folder / name) != sha256:
            raise RegistryError(
                f"{name} of pair {manifest.pair_id} is damaged: its sha256 is not that of "
                "pair.json; restore it, or register the pair again"
            )
    return _Score(graph, manifest)
