"""Writes MLflow runs and finds them again. Importing it imports neither MLflow nor torch."""

from isthmus.tracking.baseline import PcaBaseline, fit_pca, is_comparable
from isthmus.tracking.classical_filter import filtered_rows, most_filtered
from isthmus.tracking.deletions import DeletedPair, run_of_deleted
from isthmus.tracking.outputs import OutputRecord, OutputRecorder, find_outputs, this_host
from isthmus.tracking.pages import INTERNAL, ExperimentPage, experiment_pages, models_page
from isthmus.tracking.preload import preload
from isthmus.tracking.replay import SEARCH, TAG_KIND, TRIAL, end_lost_runs
from isthmus.tracking.report import NoisyExamples, RunReport
from isthmus.tracking.run import RunLog
from isthmus.tracking.runs import (
    TAG_STARTED_FROM,
    RunSummary,
    StoredRun,
    find_run,
    runs_of_data,
    runs_started_from,
    summary_of_run,
)
from isthmus.tracking.store import add_tags, open_store, store_errors
from isthmus.tracking.stored_figures import run_figures

__all__ = [
    "INTERNAL",
    "SEARCH",
    "TAG_KIND",
    "TAG_STARTED_FROM",
    "TRIAL",
    "DeletedPair",
    "ExperimentPage",
    "NoisyExamples",
    "OutputRecord",
    "OutputRecorder",
    "PcaBaseline",
    "RunLog",
    "RunReport",
    "RunSummary",
    "StoredRun",
    "add_tags",
    "end_lost_runs",
    "experiment_pages",
    "filtered_rows",
    "find_outputs",
    "find_run",
    "fit_pca",
    "is_comparable",
    "models_page",
    "most_filtered",
    "open_store",
    "preload",
    "run_figures",
    "run_of_deleted",
    "runs_of_data",
    "runs_started_from",
    "store_errors",
    "summary_of_run",
    "this_host",
]
