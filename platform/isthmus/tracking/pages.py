"""Defines the tags that MLflow's pages of our experiments read, and builds links to these pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.spec import Settings
from isthmus.tracking.store import open_store, shown, store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

INTERNAL: Mapping[str, str] = {"mlflow.experiment.isGateway": "true"}
"""The tags of an experiment that holds records of Isthmus's own. MLflow's list of experiments
leaves out those that its gateway logs to, and this tag is the only way to be left out of it."""
_KEY = "isthmus"
_VIEW = f"mlflow.sharedViewState.{_KEY}"
# What the table of runs shows beside name, age and duration; MLflow shows no figure by default.
_COLUMNS = (
    *("metrics.`test/reconstruction_mse`", "metrics.`test/pca_mse`", "metrics.`validation/loss`"),
    *("tags.`isthmus.status`", "tags.`isthmus.variant`", "tags.`isthmus.net`"),
)
OF_JOB: Mapping[str, str] = {
    "mlflow.experimentKind": "custom_model_development",
    _VIEW: json.dumps(
        {
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
            "selectedColumns": list(_COLUMNS),
        }
    ),
}
"""The tags of a job's experiment: models are trained in it, and its runs are shown with their
errors beside PCA's, by a link with the key of this view."""
# Without it the pages begin in the mode for language models, which has no list of models.
_MODE = "workflowType=machine_learning"


@dataclass(frozen=True)
class ExperimentPage:
    """The page of an experiment in MLflow.

    Attributes:
        name: The experiment's name, which is that of its job.
        url: The address of the table of its runs.
    """

    name: str
    url: str


def experiment_pages(settings: Settings, url: str) -> list[ExperimentPage]:
    """Returns the pages of the experiments that jobs have trained in, newest first.

    Args:
        settings: The settings with the tracking store.
        url: The address of MLflow's page.

    Raises:
        RegistryError: If the store does not answer.
    """
    client = open_store(settings)
    with store_errors(settings.tracking_uri):
        found = [each for each in client.search_experiments() if _is_of_job(client, each)]
    return [
        ExperimentPage(each.name, _runs(url, each.experiment_id, has_view=_VIEW in each.tags))
        for each in found
    ]


def models_page(url: str) -> str:
    """Returns the address of the list of registered models."""
    return f"{url.rstrip('/')}/#/models"


def run_page(tracking_uri: str, experiment_id: str, run_id: str) -> str | None:
    """Returns the address of a run's page; `None` if the store is no server."""
    if not tracking_uri.startswith(("http://", "https://")):
        return None
    base = shown(tracking_uri).rstrip("/")
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}?{_MODE}"


def _runs(url: str, experiment_id: str, *, has_view: bool) -> str:
    key = f"&viewStateShareKey={_KEY}" if has_view else ""
    return f"{url.rstrip('/')}/#/experiments/{experiment_id}/runs?{_MODE}{key}"


def _is_of_job(client: MlflowClient, experiment: Any) -> bool:
    """Returns whether a job has trained in an experiment, also before there was a tag for it."""
    if _VIEW in experiment.tags:
        return True
    return bool(
        client.search_runs([experiment.experiment_id], "tags.`isthmus.job` != ''", max_results=1)
    )
