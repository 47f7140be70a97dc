"""Writes MLflow runs, and finds them again. Importing it imports neither MLflow nor torch."""

from isthmus.tracking.baseline import PcaBaseline, fit_pca
from isthmus.tracking.preload import preload
from isthmus.tracking.report import RunReport
from isthmus.tracking.run import RunLog
from isthmus.tracking.runs import SEARCH, TAG_KIND, TRIAL, StoredRun, find_run
from isthmus.tracking.store import open_store, store_errors

__all__ = [
    "SEARCH",
    "TAG_KIND",
    "TRIAL",
    "PcaBaseline",
    "RunLog",
    "RunReport",
    "StoredRun",
    "find_run",
    "fit_pca",
    "open_store",
    "preload",
    "store_errors",
]
