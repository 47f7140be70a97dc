"""Reads a page of HTML as a browser would, as far as tests ask."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

_EMPTY = {"meta", "img", "link", "br"}
_BLOCKS = {"dt", "dd", "td", "th", "h3", "p"}


class Page(HTMLParser):
    """The elements and the text of a page.

    Attributes:
        elements: The tag and the attributes of each element, in order.
        text: The text that a reader sees, with single spaces.
        sections: The text below each heading of the second level.
        articles: The text of each article.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.articles: list[str] = []
        self.sections: dict[str, str] = {}
        self._open: list[str] = []
        self._texts: list[str] = []
        self._section: str | None = None
        self.feed(self.source)
        self.close()
        assert self._open == [], f"{self._open} are not closed"
        self.text = " ".join("".join(self._texts).split())
        self.articles = [" ".join(each.split()) for each in self.articles]
        self.sections = {name: " ".join(text.split()) for name, text in self.sections.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self._open.append(tag)
        if tag == "article":
            self.articles.append("")
        if tag == "h2":
            self._section = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()
        if tag in _BLOCKS:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self._texts.append(data)
        if "article" in self._open:
            self.articles[-1] += data
        if "h2" in self._open:
            self._section = data
            self.sections[data] = ""
        elif self._section:
            self.sections[self._section] += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """The attributes of the elements of a tag that have these ones; `kind` is the class."""
        wanted = {{"kind": "class"}.get(name, name): value for name, value in attributes.items()}
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key) == value for key, value in wanted.items())
        ]

    def outside(self) -> list[str]:
        """What the page would load from elsewhere, or run."""
        found = [tag for tag, _ in self.elements if tag in ("script", "link", "iframe", "object")]
        for tag, attributes in self.elements:
            for name, value in attributes.items():
                if name.startswith("on"):
                    found.append(f"{tag} {name}")
                if name in ("src", "href", "data") and not (value or "").startswith(
                    ("data:image/png;base64,", "#")
                ):
                    found.append(f"{tag} {name}={value}")
        return found + [word for word in ("@import", "url(") if word in self.source]
