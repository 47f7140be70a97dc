"""Makes the HTML of a page, and writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import jinja2

from isthmus.data.outputs.output import check_ending, whole_file
from isthmus.report.content import PageContent

PAGE_ENDINGS = (".html", ".htm")
_TEMPLATE = "page.html.j2"


def check_page(page: Path) -> None:
    """Refuses the name of a page that could not be written, before the work.

    Raises:
        DataError: If the ending is not html's, or if the name is a folder's.
    """
    check_ending(page, PAGE_ENDINGS, "a page")


def render_page(content: PageContent) -> str:
    """Returns the page as one HTML text; what comes from files is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(_TEMPLATE).render(
        content=content,
        summary=content.summary,
        file=content.file,
        created=_moment(content.file.provenance.created),
        now=_moment(datetime.now(UTC).isoformat()),
    )


def _moment(text: str) -> str:
    """Returns a time of ISO 8601 as a person writes it; any other text as it is."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return text


def write_page(content: PageContent, page: Path) -> None:
    """Writes the page, whole or not at all.

    Raises:
        DataError: If the place cannot be written to.
    """
    text = render_page(content)
    with whole_file(page, None) as temporary:
        temporary.write_text(text, encoding="utf-8")
