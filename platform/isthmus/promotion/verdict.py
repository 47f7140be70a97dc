"""The gate's verdict on a version: the checks with their numbers, and the outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from isthmus.promotion import words
from isthmus.registry.card import GAP

CheckVerdict = Literal["passed", "refused", "undecided"]
Outcome = Literal["passed", "refused", "undecided", "cannot be judged"]
Unit = Literal["error", "score", "share", "dB", "us", "bytes", "count"]
Scale = Literal["relative", "difference", "times", "value"]
# Six digits are more than any figure here is good for.
_DIGITS = 6


@dataclass(frozen=True)
class Check:
    """The result of one check of the gate, in numbers.

    Attributes:
        check: The name of the check: the stem of its file.
        name: The quantity that is checked, such as `reconstruction error`.
        value: The challenger's value; `None` if it has none, which is refused.
        beside: The value that it is compared with, the champion's or PCA's; `None` for none.
        change: The difference of the value from the other, on `scale`; `None` if they are not
            compared.
        low: The lower end of the 95 % interval of the change, or of the value if there is no
            change; -inf if the rows do not bound it, `None` if it was not sampled.
        high: The upper end.
        bound: The bound, on the same scale as the interval; `None` if nothing is asked for.
        verdict: `passed` if the whole interval is within the bound, `refused` if it is beyond it,
            else `undecided`.
        unit: The unit of the values.
        scale: The scale of the change: `relative` (a share of the other value), `difference`,
            `times` (the ratio), or `value` if the interval and the bound are those of the value
            itself.
        power: The share of equally good versions that would pass on as many rows of this spread;
            `None` if the check is not of that kind.
    """

    check: str
    name: str
    value: float | None
    beside: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    verdict: CheckVerdict = "passed"
    unit: Unit = "error"
    scale: Scale = "value"
    power: float | None = None

    @property
    def is_passed(self) -> bool:
        """Whether the check is passed."""
        return self.verdict == "passed"

    def __str__(self) -> str:
        return words.sentence(self)

    def numbers(self) -> dict[str, Any]:
        """Returns the fields for JSON: six digits, and null for what is unbounded or missing."""
        return {key: _short(value) for key, value in asdict(self).items()}


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
        """The outcome: `refused` if one check is, else `undecided` if one is, else `passed`."""
        if self.obstacle:
            return "cannot be judged"
        found = {check.verdict for check in self.checks}
        return next((each for each in ("refused", "undecided") if each in found), "passed")

    @property
    def may_be_champion(self) -> bool:
        """Whether it may become champion unseen: it passed, or its job's policy is only to warn."""
        return self.outcome == "passed" or self.policy == "warn"

    @property
    def may_be_chosen(self) -> bool:
        """Whether a person who has the figures before their eyes may make it champion."""
        return self.may_be_champion or self.outcome == "undecided"

    @property
    def reason(self) -> str:
        """The reason for the outcome, in one line with the figures."""
        if self.obstacle:
            return self.obstacle
        told = [check for check in self.checks if check.verdict == self.outcome]
        told = told[:1] if self.outcome == "passed" else told
        against = f" against {self.champion}" if self.champion else ""
        remark = f"; {self.remark}" if self.remark else ""
        return f"on {self.rows:,} held-out rows{against}: {'; '.join(map(str, told))}{remark}"

    def __str__(self) -> str:
        return f"{self.challenger}: {self.outcome}; {self.reason}"

    def numbers(self) -> dict[str, Any]:
        """Returns the verdict for JSON, with the numbers of each check."""
        return {
            "challenger": self.challenger,
            "champion": self.champion,
            "outcome": self.outcome,
            "may_be_champion": self.may_be_champion,
            "policy": self.policy,
            "rows": self.rows,
            "obstacle": self.obstacle,
            "remark": self.remark,
            "checks": [check.numbers() for check in self.checks],
        }

    def _repr_markdown_(self) -> str:
        return f"**{self.challenger}**: {self.as_markdown()}"

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
            value, beside, change, asked = words.cells(check)
            change = change.replace("95 % interval ", "")  # the column's heading says it
            said = check.verdict if check.is_passed else f"**{check.verdict}**"
            cells = (value, beside, change, asked, said)
            lines.append(
                f"| {check.name} | {' | '.join(cell and f'{GAP}{cell}' for cell in cells)} |"
            )
        return "\n".join(lines)


def numbers_by_check(checks: tuple[Check, ...]) -> Mapping[str, Mapping[str, Any]]:
    """Returns the numbers that a version's tag holds of each check, by the check's name."""
    kept = ("value", "beside", "low", "high", "bound", "verdict")
    return {
        check.check: {key: value for key, value in check.numbers().items() if key in kept}
        for check in checks
    }


def _short(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
