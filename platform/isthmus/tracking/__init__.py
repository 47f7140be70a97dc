"""Writes MLflow runs and finds them again. Importing it imports neither MLflow nor torch."""

from isthmus.tracking.baseline import PcaBaseline, fit_pca
from isthmus.tracking.outputs import OutputRecord, OutputRecorder, find_outputs, this_host
from isthmus.tracking.preload import preload
from isthmus.tracking.replay import SEARCH, TAG_KIND, TRIAL, end_lost_runs
from isthmus.tracking.report import RunReport
from isthmus.tracking.run import RunLog
from isthmus.tracking.runs import (
    RunSummary,
    StoredRun,
    find_run,
    runs_of_data,
    summary_of_run,
)
from isthmus.tracking.store import open_store, store_errors

__all__ = [
    "SEARCH",
    "TAG_KIND",
    "TRIAL",
    "OutputRecord",
    "OutputRecorder",
    "PcaBaseline",
    "RunLog",
    "RunReport",
    "RunSummary",
    "StoredRun",
    "end_lost_runs",
    "find_outputs",
    "find_run",
    "fit_pca",
    "open_store",
    "preload",
    "runs_of_data",
    "store_errors",
    "summary_of_run",
    "this_host",
]
