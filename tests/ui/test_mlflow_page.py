"""What a person sees in the MLflow page of a training run and of a registered pair."""

from __future__ import annotations

import pytest

from tests.ui.conftest import OUTPUT

pytestmark = [pytest.mark.ui, pytest.mark.slow, pytest.mark.distributed]


def test_the_run_shows_its_parameters_and_its_figures(tab, page_url, project):
    run = project.result.run_id
    from isthmus.tracking import open_store

    experiment = open_store(project.settings).get_run(run).info.experiment_id
    tab.goto(f"{page_url}/#/experiments/{experiment}/runs/{run}")
    tab.get_by_text("training.epochs").first.wait_for()
    tab.get_by_text("test/reconstruction_mse").first.wait_for()
    tab.screenshot(path=OUTPUT / "run.png")
    tab.goto(f"{page_url}/#/experiments/{experiment}/runs/{run}/artifacts")
    tab.get_by_text("figures").first.wait_for()
    tab.get_by_text("figures").first.click()
    tab.get_by_text("reconstructions.png").first.click()
    tab.locator("img[src*='blob:'], img[src*='artifact']").first.wait_for()
    tab.screenshot(path=OUTPUT / "figures.png")


def test_the_list_of_experiments_and_the_table_of_runs_show_what_people_look_for(
    tab, page_url, project
):
    tab.goto(f"{page_url}/#/experiments?workflowType=machine_learning")
    tab.get_by_text("digits", exact=True).first.wait_for()
    assert not tab.get_by_text("isthmus-history").is_visible()
    from isthmus.tracking import experiment_pages

    (runs,) = experiment_pages(project.settings, page_url)
    tab.goto(runs.url)
    for column in ("test/pca_mse", "test/reconstruction_mse"):
        tab.get_by_text(column).first.wait_for()
    tab.screenshot(path=OUTPUT / "runs.png")


def test_both_halves_are_registered_models_with_the_champion(tab, page_url):
    tab.goto(f"{page_url}/#/models")
    for half in ("digits-encoder", "digits-decoder"):
        tab.get_by_text(half).first.wait_for()
    tab.screenshot(path=OUTPUT / "models.png")
    tab.goto(f"{page_url}/#/models/digits-encoder/versions/1")
    tab.get_by_text("champion").first.wait_for()
    tab.get_by_text("isthmus.load").first.wait_for()
    picture = tab.locator("img[src*='figures%2Freconstructions.png']").first
    picture.scroll_into_view_if_needed()
    tab.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())
    tab.screenshot(path=OUTPUT / "version.png")
