"""Imports, ahead of time, modules that a run needs late and that take seconds to import.

It is meant for a thread that runs while others wait.
"""

from __future__ import annotations

import importlib

from isthmus.tracking.store import import_mlflow

# The modules that `fit_pca` and the figures import when they are called.
_LATER = ("sklearn.decomposition", "matplotlib.figure", "matplotlib.backends.backend_agg")


def preload() -> None:
    """Imports MLflow, its SQL store, scikit-learn's PCA and matplotlib. It can be called twice."""
    import_mlflow()
    importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    for module in _LATER:
        importlib.import_module(module)
