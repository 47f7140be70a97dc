"""What MLflow's pages list of Isthmus's experiments, and the links that `isthmus ui` prints."""

from __future__ import annotations

import json

from isthmus.tracking import RunLog, experiment_pages
from isthmus.tracking.outputs import EXPERIMENT, OutputRecord, OutputRecorder
from isthmus.tracking.pages import OF_JOB

URL = "http://127.0.0.1:5000"
HIDDEN = "mlflow.experiment.isGateway"  # MLflow's list leaves out experiments with this tag


def page_of(spec, settings):
    return next(page for page in experiment_pages(settings, URL) if page.name == spec.name)


def test_a_jobs_experiment_is_linked_with_the_errors_beside_pcas_in_its_table(
    settings, client, spec
):
    log = RunLog.start(spec, settings)
    log.finish()
    page = page_of(spec, settings)
    address, _, options = page.url.partition("?")
    assert address == f"{URL}/#/experiments/{log.experiment_id}/runs"
    key = dict(each.split("=") for each in options.split("&"))["viewStateShareKey"]
    tags = client.get_experiment(log.experiment_id).tags
    shown = json.loads(tags[f"mlflow.sharedViewState.{key}"])["selectedColumns"]
    assert {"metrics.`test/reconstruction_mse`", "metrics.`test/pca_mse`"} <= set(shown)
    assert "tags.`isthmus.status`" in shown


def test_an_experiment_of_an_older_version_is_linked_and_gets_its_columns_with_the_next_run(
    settings, client, spec
):
    old = client.create_experiment(spec.name)
    client.create_run(old, tags={"isthmus.job": spec.name})
    assert "viewStateShareKey" not in page_of(spec, settings).url
    RunLog.start(spec, settings).finish()
    assert "viewStateShareKey" in page_of(spec, settings).url
    assert OF_JOB.items() <= client.get_experiment(old).tags.items()


def test_what_isthmus_keeps_for_itself_is_out_of_the_list_and_of_the_links(settings, client):
    OutputRecorder(settings).record(
        OutputRecord("denoise", "/out.npz", "here", "ab", "in.npz", 1, "p", "digits/1", "now"), ()
    )
    assert client.get_experiment_by_name(EXPERIMENT).tags[HIDDEN] == "true"
    assert EXPERIMENT not in {page.name for page in experiment_pages(settings, URL)}
