"""The summary of something in a notebook: a title, facts, figures and pictures, as safe HTML.

It takes its colours from the notebook, so that it can be read in a light and in a dark theme, and
holds its pictures itself, so that a stored notebook needs no server.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDEST_PIXELS = 720
_COLOURS = 96
_LARGEST_BYTES = 60_000
_SMALLEST_PIXELS = 32


@dataclass(frozen=True)
class Figure:
    """One line of the table of figures.

    Attributes:
        name: The name of the measure, in words, with its unit.
        ours: The figure.
        beside: The figure of PCA of the same size; `None` if there is none.
    """

    name: str
    ours: float
    beside: float | None = None


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        words: The description of the picture, for those who cannot see it.
        png: The content of its file.
    """

    words: str
    png: bytes


_STYLE = """<style>
.isthmus-summary table {border-collapse:collapse;margin:.5em 0;font-size:inherit;color:inherit}
.isthmus-summary tr, .isthmus-summary tr:nth-child(even), .isthmus-summary tr:hover
  {background:transparent}
.isthmus-summary th, .isthmus-summary td {padding:.15em .9em .15em 0;text-align:left !important;
  color:inherit;border:0;vertical-align:top;white-space:normal;max-width:34em;overflow-wrap:anywhere}
.isthmus-summary .number {text-align:right !important;font-variant-numeric:tabular-nums}
.isthmus-summary thead th {border-bottom:1px solid currentColor}
.isthmus-summary .soft {opacity:.75}
.isthmus-summary img {display:block;max-width:100%;height:auto;margin:.6em 0;background:white}
</style>"""


def summary(
    title: str,
    *,
    lines: Sequence[str] = (),
    facts: Mapping[str, object] | None = None,
    figures: Sequence[Figure] = (),
    heading: str = "on held-out rows",
    ours: str = "this pair",
    pictures: Sequence[Picture] = (),
    following: str = "",
) -> str:
    """Returns the HTML of a summary, in which every text is escaped.

    Args:
        title: The title of the summary.
        lines: Sentences below the title.
        facts: Facts by name.
        figures: The figures of the pair, beside those of PCA where there are such.
        heading: The subject of the figures.
        ours: The heading of the pair's own figures.
        pictures: Pictures, which are made small enough to be stored in a notebook.
        following: The lines about what a reader may do next.
    """
    parts = [
        _STYLE,
        f"<strong>{escape(title)}</strong>",
        *(_soft(line) for line in lines),
        _facts(facts or {}),
        _figures(figures, heading, ours),
        *(
            f'<img alt="{escape(each.words)}" src="data:image/png;base64,{_small(each.png)}">'
            for each in pictures
        ),
        _soft(following),
    ]
    inside = "\n".join(part for part in parts if part)
    style = "max-width:50em;line-height:1.45"
    return f'<div class="isthmus-summary" style="{style}">\n{inside}\n</div>'


def _soft(text: str) -> str:
    return f'<div class="soft">{escape(text)}</div>' if text else ""


def _facts(facts: Mapping[str, object]) -> str:
    if not facts:
        return ""
    rows = [
        f'<tr><td class="soft">{escape(name)}</td><td>{escape(str(value))}</td></tr>'
        for name, value in facts.items()
    ]
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _figures(figures: Sequence[Figure], heading: str, ours: str) -> str:
    if not figures:
        return ""
    has_beside = any(each.beside is not None for each in figures)
    heads = [ours, *(["PCA"] * has_beside)]
    head = "".join(f'<th class="number">{escape(each)}</th>' for each in heads)
    rows = []
    for each in figures:
        cells = [each.ours, *([each.beside] * has_beside)]
        shown = ("" if cell is None else f"{cell:.4g}" for cell in cells)
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in shown)
        rows.append(f"<tr><td>{escape(each.name)}</td>{numbers}</tr>")
    return (
        f"<table><thead><tr><th>{escape(heading)}</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _small(png: bytes) -> str:
    """Returns a picture in base64, with fewer pixels and colours, and at most 60 kB before that."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    width = min(picture.width, _WIDEST_PIXELS)
    while True:
        height = max(1, round(picture.height * width / picture.width))
        scaled = picture if width == picture.width else picture.resize((width, height))
        written = io.BytesIO()
        scaled.quantize(_COLOURS).save(written, "PNG", optimize=True)
        content = written.getvalue()
        if len(content) <= _LARGEST_BYTES or width <= _SMALLEST_PIXELS:
            return base64.b64encode(content).decode("ascii")
        width = round(width * 0.8)
