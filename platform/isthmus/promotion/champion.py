"""Makes a version champion if it passes the gate; the verdict is written on the version anyway."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from isthmus.aliases import Promotion, champion_of, history, reconcile
from isthmus.aliases import promote as set_alias
from isthmus.errors import Overtaken, PromotionRefused, UsageError
from isthmus.promotion.gate import OnStep, judge
from isthmus.promotion.verdict import Verdict, numbers_by_check
from isthmus.registry import CHAMPION, Reference, annotate, is_let_by_gate, write_section
from isthmus.registry.tags import LET_BY_GATE, VERDICT, LetBy
from isthmus.spec import Settings

TAG_REASON = "isthmus.verdict_reason"
TAG_NUMBERS = "isthmus.gate"
"""The tag that holds the numbers of all checks, as JSON."""
SECTION = "gate"
"""The section of the version's description that holds the verdict."""
_BY_A_PERSON: Mapping[LetBy, str] = {
    "forced": "A person made it champion against the gate.\n\n",
    "chosen": "A person made it champion, for so few rows cannot tell.\n\n",
}
_LONGEST_REASON = 2000
_MOST_ATTEMPTS = 3


class GateRefused(PromotionRefused):
    """Raised if the gate refuses to make a version champion."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        advice = (
            "so few rows cannot tell; promote it with --undecided (in Python "
            "undecided=True) if these figures convince you, "
            "or train it on more rows"
            if verdict.outcome == "undecided"
            else "promote another version, or this one nevertheless with --force --why REASON (in "
            "Python force=True, why=REASON)"
        )
        super().__init__(f"{verdict}; {advice}")

    def __reduce__(self) -> tuple[type[GateRefused], tuple[Verdict]]:
        return (type(self), (self.verdict,))  # errors are pickled between processes


@dataclass(frozen=True)
class Promoted:
    """The result of a promotion, with the gate's verdict.

    Attributes:
        promotion: The registry's result.
        verdict: The verdict; `None` if the gate does not apply: for another alias, or for the
            present champion.
    """

    promotion: Promotion
    verdict: Verdict | None


def promote(
    name: str,
    version: int,
    settings: Settings,
    alias: str = CHAMPION,
    *,
    why: str = "",
    force: bool = False,
    undecided: bool = False,
    must_be_better: bool = False,
    source: Literal["command", "schedule"] = "command",
    on_step: OnStep | None = None,
) -> Promoted:
    """Sets an alias of a version; a version must pass the gate to become champion.

    If another version became champion while the gate judged, the version is judged again against
    that one.

    Args:
        name: The pair's name.
        version: The pair's version.
        settings: The settings that say where the registry is.
        alias: The alias. The gate applies to `champion` only.
        why: The reason, for the history.
        force: Promotes the version even if the gate refuses it; requires `why`.
        undecided: Promotes the version also if the gate cannot tell from so few rows. It is for a
            person who has seen the figures; what runs by itself leaves it out.
        must_be_better: Whether the reconstruction error must be lower beyond chance.
        source: The kind of action, for the history.
        on_step: A function that is called with each step of the gate.

    Raises:
        GateRefused: If the gate refuses the version, or is undecided. The message is one line with
            the figures, and the verdict is written on the version.
        ModelNotFound: If there is no such version.
        Overtaken: If another version became champion meanwhile, three times in a row.
        UsageError: If `force` is given without `why`, or MLflow does not accept the alias.
        RegistryError: If the registry does not answer.
    """
    if force and not why.strip():
        raise UsageError(
            "--force needs --why (in Python why=REASON): the history tells others what the gate "
            "did not see"
        )
    if alias != CHAMPION:
        done = set_alias(name, version, settings, alias, why=why, source=source)
        return Promoted(done, None)
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        reconcile(name, settings)
        events = [event for event in history(name, settings) if event.alias == CHAMPION]
        # If the champion changes after this event, the promotion fails with `Overtaken`, because
        # the version was not compared with the new champion.
        since = events[-1].number if events else 0
        champion = champion_of(name, settings)
        verdict, said = None, why
        if champion != version or not is_let_by_gate(f"{name}/{version}", settings):
            against = champion if champion != version else None
            verdict = judge(
                name, version, against, settings, must_be_better=must_be_better, on_step=on_step
            )
            let = let_by_gate(verdict, is_forced=force, is_chosen=undecided)
            write_verdict(verdict, settings, let)
            if let == "not" and not verdict.may_be_champion:
                raise GateRefused(verdict)
            said = "; ".join(filter(None, (why, f"the gate: {verdict.outcome}")))
        try:
            done = set_alias(name, version, settings, why=said, source=source, since=since)
        except Overtaken:
            if attempt == _MOST_ATTEMPTS:
                raise
        else:
            return Promoted(done, verdict)
    raise AssertionError  # the last attempt returns or raises


def judge_reference(reference: str, settings: Settings, on_step: OnStep | None = None) -> Verdict:
    """Judges `NAME/VERSION` against the present champion, without changing anything.

    Raises:
        ModelNotFound: If there is no such version.
        RegistryError: If the registry does not answer.
    """
    parsed = Reference.parse(reference)
    champion = champion_of(parsed.name, settings)
    version = parsed.version or champion
    if version is None or parsed.alias not in (None, CHAMPION):
        raise UsageError(f'"{reference}" is no version; write NAME/VERSION, as in digits/3')
    return judge(parsed.name, version, champion, settings, on_step=on_step)


def let_by_gate(verdict: Verdict, *, is_forced: bool = False, is_chosen: bool = False) -> LetBy:
    """Returns by what a version may become champion; `not` if it may not, or only with a warning.

    Args:
        verdict: The verdict.
        is_forced: Whether a person overrides the gate.
        is_chosen: Whether a person chooses it where the gate is undecided.
    """
    if verdict.outcome == "passed":
        return "passed"
    if is_chosen and verdict.outcome == "undecided":
        return "chosen"
    return "forced" if is_forced else "not"


def write_verdict(verdict: Verdict, settings: Settings, let: LetBy, **tags: str) -> None:
    """Writes a verdict on both halves of a version, for people who read it in MLflow's UI.

    Args:
        verdict: The verdict.
        settings: The settings that say where the registry is.
        let: By what the version may become champion.
        tags: More tags to set, named without their prefix `isthmus.`.

    Raises:
        RegistryError: If the registry does not answer.
    """
    text = f"### Gate\n\n{_BY_A_PERSON.get(let, '')}{verdict.as_markdown()}"
    write_section(verdict.challenger, SECTION, text, settings)
    said = {
        VERDICT: verdict.outcome,
        TAG_REASON: verdict.reason[:_LONGEST_REASON],
        TAG_NUMBERS: json.dumps(numbers_by_check(verdict.checks)),
        LET_BY_GATE: let,
        **{f"isthmus.{key}": value for key, value in tags.items()},
    }
    annotate(verdict.challenger, said, settings)
