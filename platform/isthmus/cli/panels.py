"""Formats the list of commands in `--help`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class Panels(TyperGroup):
    """Lists commands in groups by purpose, as plain text, because importing rich takes time."""

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Writes a section for each group, in the order of the commands."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                line = (name, command.get_short_help_str(limit=200))
                panels.setdefault(panel if isinstance(panel, str) else "Commands", []).append(line)
        for panel, lines in panels.items():
            with formatter.section(panel):
                formatter.write_dl(lines)
