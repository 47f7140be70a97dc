"""Makes a version champion if it passes the gate; the verdict is written on the version anyway."""

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
"""The section of the version's description that holds the verdict."""
_LONGEST_REASON = 2000
_MOST_ATTEMPTS = 3


class GateRefused(PromotionRefused):
    """Raised if the gate refuses to make a version champion."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(
            f"{verdict}; promote another version, or this one nevertheless with --force --why "
            "REASON"
        )

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
        must_be_better: Whether the reconstruction error must be lower beyond chance.
        source: The kind of action, for the history.
        on_step: A function that is called with each step of the gate.

    Raises:
        GateRefused: If the gate refuses the version. The message is one line with the figures, and
            the verdict is written on the version.
        ModelNotFound: If there is no such version.
        Overtaken: If another version became champion meanwhile, three times in a row.
        UsageError: If `force` is given without `why`, or MLflow does not accept the alias.
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
        # If the champion changes after this event, the promotion fails with `Overtaken`, because
        # the version was not compared with the new champion.
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


def write_verdict(verdict: Verdict, settings: Settings, **tags: str) -> None:
    """Writes a verdict on both halves of a version, for people who read it in MLflow's UI.

    Args:
        verdict: The verdict.
        settings: The settings that say where the registry is.
        tags: More tags to set, named without their prefix `isthmus.`.

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
