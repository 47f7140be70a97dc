"""What a notebook shows is escaped, small, and holds its pictures itself."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from isthmus import registry
from isthmus.notebook import Figure, Picture, summary
from isthmus.registry import Detections


def png(height: int, width: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def test_names_that_others_chose_are_no_html():
    bad = '<script>alert("x")</script>'
    html = summary(
        bad,
        lines=[bad],
        facts={bad: bad},
        figures=[Figure(bad, 1.0)],
        pictures=[Picture(bad, png(4, 4))],
        heading=bad,
        ours=bad,
        following=bad,
    )
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 9


def test_figures_stand_beside_those_of_pca_where_there_are_such():
    html = summary("p", figures=[Figure("error", 0.25, 0.5), Figure("ssim", 0.9)])
    cells = [each.strip() for each in re.findall(r"<td[^>]*>\s*([^<]*)</td>", html)]
    assert cells == ["error", "0.25", "0.5", "ssim", "0.9", ""]
    assert "PCA" not in summary("p", figures=[Figure("ssim", 0.9)])


@pytest.mark.parametrize("size", [(40, 60), (1200, 900), (3000, 300)], ids=str)
def test_a_picture_is_small_enough_for_a_stored_notebook(size):
    html = summary("p", pictures=[Picture("noise, which no codec makes smaller", png(*size))])
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(data) <= 4 * 60_000 / 3 + 4
    assert "http" not in html


def test_a_pair_shows_what_it_is_without_a_path_of_this_machine(trained, settings):
    registry.register_pair(trained("shown", 0), settings)
    html = registry.load("shown/1", settings)._repr_html_()
    assert "Pair shown/1" in html
    assert "reconstruction error (mean square, scaled)" in html
    assert str(settings.home.parent) not in html


def test_detections_show_how_many_there_are_and_the_strangest():
    scores = np.array([0.5, 9.0, 0.25], dtype=np.float32)
    html = Detections(scores, np.full(3, 0.5, np.float32), scores > 1, 1.0)._repr_html_()
    assert "1 anomalies in 3 rows" in html
    assert html.index("row 1") < html.index("row 0") < html.index("row 2")
