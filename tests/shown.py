"""The command blocks of a page, and whether a command printed what the page shows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What differs from run to run: ids, names of runs, numbers, and how long ago something was.
_CHANGING = (
    (re.compile(r"\b(?=\w*\d)[0-9a-f]{8,16}\b"), "ID"),
    (re.compile(r"\bdigits-[a-z]+-\d+\b"), "RUN"),
    (re.compile(r"\d+ (s|min|h|days?)\b"), "TIME"),
    (re.compile(r"-?\d[\d,.:+T-]*(e[+-]?\d+)?"), "NUMBER"),
)


@dataclass
class Shown:
    """A command as typed, and the lines that the page shows below it."""

    command: str
    lines: list[str] = field(default_factory=list)

    def missing_in(self, printed: str) -> list[str]:
        """The shown lines that were not printed, in their order; numbers and ids may differ."""
        rest = iter([_constant(line) for line in printed.splitlines()])
        return [line for line in self.lines if line != "..." and _constant(line) not in rest]


def consoles(page: Path) -> list[Shown]:
    """The commands in the `console` blocks of a page, in order."""
    found: list[Shown] = []
    for block in blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Shown(line.removeprefix("$ ")))
            elif line.strip():
                found[-1].lines.append(line)
    return found


def blocks(page: Path, language: str) -> list[str]:
    """The contents of a page's blocks of one language, in order."""
    text = page.read_text(encoding="utf-8")
    return [content for name, content in _BLOCK.findall(text) if name == language]


def _constant(line: str) -> str:
    for pattern, name in _CHANGING:
        line = pattern.sub(name, line)
    return " ".join(line.split())
