"""Isthmus: train autoencoders, keep every encoder and decoder as a pair, put the pairs to work.

    import isthmus

    result = isthmus.train("job.yaml")
    isthmus.promote("digits", result.pair.version)
    clean = isthmus.load("digits@champion").denoise(noisy)

Importing this imports neither torch nor Ray nor MLflow; the first call does.
"""

from __future__ import annotations

from isthmus.api import (
    build,
    gate,
    history,
    lineage,
    load,
    models,
    onnx_files,
    promote,
    resume,
    rollback,
    train,
    tune,
    versions,
)
from isthmus.errors import IsthmusError

__all__ = [
    "IsthmusError",
    "build",
    "gate",
    "history",
    "lineage",
    "load",
    "models",
    "onnx_files",
    "promote",
    "resume",
    "rollback",
    "train",
    "tune",
    "versions",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("isthmus")
    raise AttributeError(f"module 'isthmus' has no attribute {name!r}")
