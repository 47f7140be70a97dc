"""A person promotes by clicking in MLflow's page; pair, history and the next job follow."""

from __future__ import annotations

import re

import pytest

from isthmus.registry import load
from tests.ui.conftest import OUTPUT

pytestmark = [pytest.mark.ui, pytest.mark.slow]


@pytest.fixture
def page(tab, clicked, monkeypatch):
    """The tab of somebody who works in the folder of the clicked model."""
    monkeypatch.chdir(clicked.folder)
    for name, value in clicked.environment.items():
        monkeypatch.setenv(name, value)
    return tab


def open_version(page, clicked, half: str, version: int, name: str | None = None) -> None:
    """Opens a version, with MLflow's assistant out of the way."""
    page.goto(f"{clicked.url}/#/models/{name or clicked.name}-{half}/versions/{version}")
    page.reload()
    page.get_by_role("button", name="Promote model").wait_for()
    page.get_by_text("isthmus.load").first.wait_for()
    assistant = page.locator("[data-component-id='mlflow.assistant.chat_panel.close']")
    if assistant.is_visible():
        assistant.click()


def set_champion(page) -> None:
    """By the dialog that the page opens beside *Aliases*."""
    page.get_by_title("Add aliases").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill("champion")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Save aliases").click()
    dialog.wait_for(state="hidden")


def test_the_model_card_is_rendered_with_its_table_and_its_picture(page, clicked):
    open_version(page, clicked, "encoder", 2)
    page.get_by_role("cell", name="reconstruction error (mean square, scaled)").wait_for()
    page.get_by_role("columnheader", name=f"champion {clicked.name}/1").wait_for()
    page.screenshot(path=OUTPUT / "card.png")
    picture = page.locator("img[src*='figures%2Freconstructions.png']").first
    picture.scroll_into_view_if_needed()
    page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())
    page.screenshot(path=OUTPUT / "card-picture.png")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="the decoder").click()
    opened.value.get_by_text("rows = pair.decode(latents)").wait_for()


def test_decoder_history_and_the_next_denoise_follow_an_alias(page, clicked, watching, isthmus):
    before = clicked.champion("decoder")
    assert before == 1
    open_version(page, clicked, "encoder", 2)
    set_champion(page)
    watching.wait_for(
        lambda: clicked.told()[-1] == ("page", 1, 2) and clicked.champion("decoder") == 2
    )
    watching.wait_for(lambda: "isthmus.verdict" in clicked.tags(2))
    assert re.search(r"MLflow page .+ champion +1 +2\s", isthmus("history", clicked.name).out)
    said = isthmus("denoise", "--model", f"{clicked.name}@champion", "in.csv", "out.csv").out
    assert f"denoised by {clicked.name}/2" in said
    open_version(page, clicked, "decoder", 2)
    page.get_by_text("@ champion").wait_for()
    page.get_by_text("Passed").first.wait_for()
    page.screenshot(path=OUTPUT / "promoted.png")


def test_a_refusal_is_seen_on_the_page(page, clicked, watching):
    before = clicked.champion("encoder")
    open_version(page, clicked, "encoder", 3)
    set_champion(page)
    watching.wait_for(lambda: clicked.told()[-2:] == [("page", before, 3), ("gate", 3, before)])
    watching.wait_for(lambda: clicked.champion("encoder") == clicked.champion("decoder") == before)
    open_version(page, clicked, "encoder", 3)
    page.get_by_title("Add aliases").wait_for()  # it has none again
    page.get_by_text(f"Refused against {clicked.name}/{before}").wait_for()
    row = page.get_by_role("row").filter(has_text="reconstruction error").filter(has_text="at most")
    assert "refused" in row.first.inner_text()
    page.screenshot(path=OUTPUT / "refused.png")
    tag = page.get_by_text("isthmus.verdict_reason")
    tag.scroll_into_view_if_needed()
    page.screenshot(path=OUTPUT / "refused-tags.png")


def test_what_promote_model_copies_is_a_whole_pair(page, clicked, watching, isthmus):
    copied = f"prod-{clicked.name}"
    open_version(page, clicked, "encoder", 2)
    page.get_by_role("button", name="Promote model").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").click()
    page.locator(".mlflow-create-new-model-option").click()
    dialog.get_by_placeholder("Input a model name").fill(f"{copied}-encoder")
    page.screenshot(path=OUTPUT / "promote-model.png")
    dialog.get_by_role("button", name="Promote", exact=True).click()
    page.wait_for_url(f"**/models/{copied}-encoder/**")
    watching.wait_for(lambda: clicked.champion("decoder", copied) == 1)
    original = load(f"{clicked.name}/2", clicked.settings)
    assert load(copied, clicked.settings).manifest.pair_id == original.manifest.pair_id
    said = isthmus("denoise", "--model", copied, "in.csv", "copied.csv").out
    assert f"denoised by {copied}/1 (pair {original.manifest.pair_id})" in said
    open_version(page, clicked, "decoder", 1, copied)
    page.get_by_text("@ champion").wait_for()
    page.get_by_text(f"The decoder of {clicked.name}/2").wait_for()
    page.screenshot(path=OUTPUT / "copied.png")
