"""What the gate says of a version: each check with its figures, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isthmus.registry.card import GAP

Outcome = Literal["passed", "refused", "cannot be judged"]


@dataclass(frozen=True)
class Check:
    """One thing that the gate looked at.

    Attributes:
        name: What: `reconstruction error`.
        challenger: Its figure, with unit.
        beside: The figure it is held against, with unit, the champion's or PCA's; empty if there
            is none.
        change: How they differ, with the 95 % interval; empty if they are not compared.
        bound: What is asked for.
        is_passed: Whether it is met.
    """

    name: str
    challenger: str
    beside: str
    change: str
    bound: str
    is_passed: bool

    def __str__(self) -> str:
        beside = f" beside {self.beside}" if self.beside else ""
        change = f": {self.change}" if self.change else ""
        return f"{self.name} {self.challenger}{beside}{change}; asked for: {self.bound}"


@dataclass(frozen=True)
class Verdict:
    """Whether a version may be champion, and why.

    Attributes:
        challenger: Name and version.
        champion: Name and version of what it was held against; `None` if there was none.
        rows: Held-out rows that both were given.
        checks: What was looked at; none if nothing could be.
        obstacle: Why it cannot be judged; empty if it could.
        policy: Of the challenger's job.
        remark: What else is to be known, a sentence without its full stop; may be empty.
    """

    challenger: str
    champion: str | None
    rows: int
    checks: tuple[Check, ...]
    obstacle: str
    policy: Literal["enforce", "warn"]
    remark: str = ""

    @property
    def outcome(self) -> Outcome:
        """What the checks came to."""
        if self.obstacle:
            return "cannot be judged"
        return "passed" if all(check.is_passed for check in self.checks) else "refused"

    @property
    def may_be_champion(self) -> bool:
        """Whether it passed, or its job only wants to be warned."""
        return self.outcome == "passed" or self.policy == "warn"

    @property
    def reason(self) -> str:
        """The outcome's, in one line with the figures."""
        if self.obstacle:
            return self.obstacle
        told = [check for check in self.checks if not check.is_passed] or self.checks[:1]
        against = f" against {self.champion}" if self.champion else ""
        remark = f"; {self.remark}" if self.remark else ""
        return f"on {self.rows:,} held-out rows{against}: {'; '.join(map(str, told))}{remark}"

    def __str__(self) -> str:
        return f"{self.challenger}: {self.outcome}; {self.reason}"

    def as_markdown(self) -> str:
        """The table that stands in the version's description."""
        against = f" against {self.champion}" if self.champion else ", as the first champion"
        if self.obstacle:
            return f"**{self.outcome.capitalize()}**{against}: {self.obstacle}."
        lines = [
            f"**{self.outcome.capitalize()}**{against}, on {self.rows:,} held-out rows.",
            *([f"{self.remark}."] if self.remark else []),
            "",
            "| check | this version | beside | difference (95 % interval) | asked for | |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for check in self.checks:
            change = check.change.replace("95 % interval ", "")  # as the head of the column says
            said = "passed" if check.is_passed else "**refused**"
            cells = (check.challenger, check.beside, change, check.bound, said)
            lines.append(
                f"| {check.name} | {' | '.join(cell and f'{GAP}{cell}' for cell in cells)} |"
            )
        return "\n".join([*lines, "", "---"])
