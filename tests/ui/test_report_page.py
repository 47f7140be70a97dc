"""What a person sees in the page of a detection: wide and on a phone, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.jobs.report import report
from tests.strange import Strange, strange
from tests.ui.conftest import OUTPUT
from tests.using import detect

__all__ = ["strange"]
pytestmark = [pytest.mark.ui, pytest.mark.slow]


@pytest.fixture(scope="module", params=["tabular", "images", "audio"])
def page(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    strange: Callable[[str], Strange],
) -> Path:
    """The page of a kind of data."""
    folder = tmp_path_factory.mktemp(request.param)
    found = strange(request.param)
    detect(found.model, found.source, folder / "scores.csv", found.settings)
    report(folder / "scores.csv", folder / f"{request.param}.html", found.settings)
    return folder / f"{request.param}.html"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")], ids=str)
def test_the_page_fits_a_wide_screen_and_a_phone_and_loads_nothing(browser, page, width, scheme):
    OUTPUT.mkdir(exist_ok=True)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    asked, faults = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: faults.append(message.text))
    tab.goto(page.as_uri())
    # Nothing is wider than the screen: neither the page nor what a card cuts off.
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    cut = tab.eval_on_selector_all(
        ".card, figure", "all => all.filter(each => each.scrollWidth > each.clientWidth + 1).length"
    )
    assert cut == 0
    # The texts of the charts can be read.
    sizes = tab.eval_on_selector_all(
        "svg.chart text", "all => all.map(each => each.getBoundingClientRect().height)"
    )
    assert min(sizes) > 8
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, dark[4:-1].split(","))) < 200) == (scheme == "dark")
    assert [url for url in asked if not url.startswith(("file:", "data:image/png"))] == []
    assert faults == []
    tab.screenshot(path=OUTPUT / f"report-{page.stem}-{width}.png", full_page=True)
    context.close()
