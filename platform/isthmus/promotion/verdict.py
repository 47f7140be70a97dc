"""The gate's verdict on a version: the checks with their figures, and the outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isthmus.registry.card import GAP

Outcome = Literal["passed", "refused", "cannot be judged"]


@dataclass(frozen=True)
class Check:
    """A check of the gate.

    Attributes:
        name: The quantity that is checked, such as `reconstruction error`.
        challenger: The challenger's value, with its unit.
        beside: The value that it is compared with, the champion's or PCA's, with its unit; empty if
            there is none.
        change: The difference between the two, with the 95 % interval; empty if they are not
            compared.
        bound: The required bound.
        is_passed: Whether the bound is met.
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
    """The decision whether a version may become champion, with its reasons.

    Attributes:
        challenger: The challenger's name and version.
        champion: The name and version of the champion that it was compared with; `None` if there
            was none.
        rows: The number of held-out rows that both were measured on.
        checks: The checks; empty if none could be made.
        obstacle: The reason why the version cannot be judged; empty if it can.
        policy: The policy of the challenger's job.
        remark: A further remark, as a sentence without its full stop; may be empty.
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
        """The outcome of the checks."""
        if self.obstacle:
            return "cannot be judged"
        return "passed" if all(check.is_passed for check in self.checks) else "refused"

    @property
    def may_be_champion(self) -> bool:
        """Whether the version passed, or its job's policy is only to warn."""
        return self.outcome == "passed" or self.policy == "warn"

    @property
    def reason(self) -> str:
        """The reason for the outcome, in one line with the figures."""
        if self.obstacle:
            return self.obstacle
        told = [check for check in self.checks if not check.is_passed] or self.checks[:1]
        against = f" against {self.champion}" if self.champion else ""
        remark = f"; {self.remark}" if self.remark else ""
        return f"on {self.rows:,} held-out rows{against}: {'; '.join(map(str, told))}{remark}"

    def __str__(self) -> str:
        return f"{self.challenger}: {self.outcome}; {self.reason}"

    def as_markdown(self) -> str:
        """Returns the verdict as a Markdown table for the version's description."""
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
            change = check.change.replace("95 % interval ", "")  # the column's heading says it
            said = "passed" if check.is_passed else "**refused**"
            cells = (check.challenger, check.beside, change, check.bound, said)
            lines.append(
                f"| {check.name} | {' | '.join(cell and f'{GAP}{cell}' for cell in cells)} |"
            )
        return "\n".join([*lines, "", "---"])
