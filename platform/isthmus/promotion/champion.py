"""Makes a version champion if the gate lets it; the verdict stands on the version either way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isthmus.aliases import Promotion, champion_of, history, reconcile
from isthmus.aliases import promote as set_alias
from isthmus.errors import Overtaken, PromotionRefused, UsageError
from isthmus.promotion.gate import OnStep, judge
from isthmus.promotion.verdict import Verdict
from isthmus.registry import CHAMPION, Reference, annotate, write_section
from isthmus.spec import Settings

TAG_VERDICT, TAG_REASON = "isthmus.verdict", "isthmus.verdict_reason"
SECTION = "gate"
"""Of the version's description."""
_LONGEST_REASON = 2000
_MOST_ATTEMPTS = 3


class GateRefused(PromotionRefused):
    """The gate lets a version not become champion."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(
            f"{verdict}; promote another version, or this one nevertheless with --force --why "
            "REASON"
        )

    def __reduce__(self) -> tuple[type[GateRefused], tuple[Verdict]]:
        return (type(self), (self.verdict,))  # errors travel between processes


@dataclass(frozen=True)
class Promoted:
    """What was promoted, and what the gate said.

    Attributes:
        promotion: As the registry did it.
        verdict: `None` where no gate stands: for another alias, or for today's champion.
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
    must_be_better: bool = False,
    source: Literal["command", "schedule"] = "command",
    on_step: OnStep | None = None,
) -> Promoted:
    """Gives a version an alias; before it is champion, it passes the gate.

    If another became champion while the gate judged, the version is judged again beside that one.

    Args:
        name: Of the pair.
        version: Of the pair.
        settings: Where the registry is.
        alias: Which; the gate stands before `champion` only.
        why: For the history.
        force: Promotes what the gate refuses; needs `why`.
        must_be_better: As of `judge`.
        source: For the history.
        on_step: Told of the gate's progress.

    Raises:
        GateRefused: In one line with the figures; the verdict stands on the version.
        ModelNotFound: If there is no such version.
        Overtaken: If another became champion meanwhile, three times in a row.
        UsageError: If it is forced and nobody says why, or MLflow takes no such alias.
        RegistryError: If the registry does not answer.
    """
    if force and not why.strip():
        raise UsageError("--force needs --why: the history tells others what the gate did not see")
    if alias != CHAMPION:
        done = set_alias(name, version, settings, alias, why=why, source=source)
        return Promoted(done, None)
    for attempt in range(1, _MOST_ATTEMPTS + 1):
        reconcile(name, settings)
        events = [event for event in history(name, settings) if event.alias == CHAMPION]
        # Whoever is made champion from here on, it is not the one that the version is held against.
        since = events[-1].number if events else 0
        champion = champion_of(name, settings)
        verdict, said = None, why
        if champion != version:
            verdict = judge(
                name, version, champion, settings, must_be_better=must_be_better, on_step=on_step
            )
            write_verdict(verdict, settings)
            if not verdict.may_be_champion and not force:
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
    """What the gate says of `NAME/VERSION` beside today's champion; changes nothing.

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


def write_verdict(verdict: Verdict, settings: Settings, **tags: str) -> None:
    """Writes a verdict on both halves of a version, for people to read in MLflow's page.

    Args:
        verdict: What to write.
        settings: Where the registry is.
        tags: Others beside it, by what follows `isthmus.`.

    Raises:
        RegistryError: If the registry does not answer.
    """
    text = f"### Gate\n\n{verdict.as_markdown()}"
    write_section(verdict.challenger, SECTION, text, settings)
    said = {
        TAG_VERDICT: verdict.outcome,
        TAG_REASON: verdict.reason[:_LONGEST_REASON],
        **{f"isthmus.{key}": value for key, value in tags.items()},
    }
    annotate(verdict.challenger, said, settings)
