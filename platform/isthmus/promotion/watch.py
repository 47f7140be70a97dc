"""Brings the registry in line with what people click in MLflow's page.

A poller asks where all aliases stand, in one request; a webhook only makes it ask sooner, for
MLflow may lose one. What was clicked is completed and recorded by `aliases.reconcile`, then passes
the gate, and what the gate refuses is put back. Whether a click was judged stands on the version
itself, so that the next watcher goes on where one stopped, and several of them do no harm.

What was clicked before the first watcher of an `ISTHMUS_HOME` began is taken as it is. So keep
that folder: a watcher with a fresh one judges nothing that was clicked while none ran.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from isthmus.aliases import (
    Event,
    Position,
    alias_positions,
    champion_of,
    demote,
    history,
    promote,
    reconcile,
)
from isthmus.errors import IsthmusError, ModelNotFound, Overtaken, RegistryError
from isthmus.promotion.champion import TAG_REASON, write_verdict
from isthmus.promotion.gate import judge
from isthmus.promotion.reruns import Reruns
from isthmus.promotion.subscriptions import Subscription
from isthmus.registry import CHAMPION, annotation
from isthmus.spec import Settings

POLL_S = 10.0
_LONGEST_BACKOFF_S = 60.0
# What another process left half done shows in no alias: every pair is looked at now and then.
_LOOK_AT_ALL_S = 60.0
_WHILE_RUNNING_S = 0.5
_TAG_JUDGED = "gate_event"
_logger = logging.getLogger(__name__)

OnLine = Callable[[str], None]


class Bell:
    """Rings for pairs that something happened to; safe to ring from other threads."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def ring(self, name: str) -> None:
        """Wakes the watcher up for a pair."""
        with self._lock:
            self._names.add(name)
        self._rung.set()

    def wait(self, timeout_s: float) -> set[str]:
        """The pairs that were rung for, as soon as there are any; none when the time is over."""
        self._rung.wait(timeout_s)
        with self._lock:
            self._rung.clear()
            names, self._names = self._names, set()
        return names


class Watcher:
    """Looks, judges, puts back, starts; all in the thread that calls it."""

    def __init__(
        self,
        settings: Settings,
        on_line: OnLine,
        *,
        subscriptions: Sequence[Subscription] = (),
        poll_s: float = POLL_S,
    ) -> None:
        """Args:
        settings: Where the registry is.
        on_line: Told what happens, a line each.
        subscriptions: What is run again for a new champion.
        poll_s: Seconds between two looks.
        """
        self.bell = Bell()
        self._settings = settings
        self._tell = on_line
        self._poll_s = poll_s
        self._reruns = Reruns(subscriptions, settings, on_line)
        self._positions: dict[str, frozenset[Position]] = {}
        self._looked_at_all_s = float("-inf")
        self._began = settings.home / "watch" / "began.json"

    def run(self) -> None:
        """Watches until Ctrl-C."""
        backoff_s = 0.0
        names: set[str] = set()
        try:
            while True:
                try:
                    self.look(names)
                    if backoff_s:
                        self._tell("MLflow answers again")
                    backoff_s, names = 0.0, set()
                except RegistryError as error:
                    if not backoff_s:
                        self._tell(f"{error}; trying again until it answers")
                    backoff_s = min(max(2 * backoff_s, self._poll_s), _LONGEST_BACKOFF_S)
                names |= self._wait(backoff_s or self._poll_s)
        finally:
            self._reruns.close()

    def look(self, rung: set[str] | frozenset[str] = frozenset()) -> None:
        """Looks once at all pairs whose aliases moved, and at those that were rung for.

        Raises:
            RegistryError: If the registry does not answer; the next look begins where this ended.
        """
        positions = alias_positions(self._settings)
        first_start = self._first_start()
        now_s = time.monotonic()
        is_for_all = now_s - self._looked_at_all_s >= _LOOK_AT_ALL_S
        for name, found in positions.items():
            if is_for_all or name in rung or self._positions.get(name) != found:
                self._look_at(name, first_start)
                self._positions[name] = found
        if is_for_all:
            self._looked_at_all_s = now_s
        if first_start is None:
            self._begin()
        self._reruns.advance()

    def _wait(self, timeout_s: float) -> set[str]:
        """Until somebody rings or the time is over; meanwhile runs end and others begin."""
        until_s = time.monotonic() + timeout_s
        while True:
            left_s = until_s - time.monotonic()
            names = self.bell.wait(
                min(left_s, _WHILE_RUNNING_S) if self._reruns.is_running else left_s
            )
            self._reruns.advance()
            if names or time.monotonic() >= until_s:
                return names

    def _look_at(self, name: str, first_start: datetime | None) -> None:
        try:
            for event in reconcile(name, self._settings):
                self._tell(_said(name, event))
            events = [event for event in history(name, self._settings) if event.alias == CHAMPION]
            champion = events[-1].to_version if events else champion_of(name, self._settings)
            if events and first_start is not None and events[-1].at >= first_start:
                champion = self._pass_gate(name, events, first_start)
            if name in self._reruns.models:
                self._reruns.follow(name, champion)  # not what was clicked meanwhile
        except Overtaken:
            pass  # somebody has chosen another meanwhile, which the next look judges
        except RegistryError:
            raise
        except IsthmusError as error:
            self._tell(f"{name}: {error}")  # of this pair alone: the others go on
        except Exception:
            _logger.exception("%s: an error of Isthmus itself; the other pairs go on", name)

    def _pass_gate(self, name: str, events: Sequence[Event], first_start: datetime) -> int | None:
        """Judges the newest champion if it was clicked, and puts back what is refused.

        Returns:
            The champion then.

        Raises:
            Overtaken: If it was refused, and somebody has chosen another meanwhile.
        """
        event = events[-1]
        version = event.to_version
        if event.source != "page" or version is None:
            return version
        judged = self._judged(name, event)
        before = self._champion_before(name, events, first_start)
        if judged == "accepted" or version == before:
            return version
        if judged is None:
            verdict = judge(name, version, before, self._settings)
            judged = "accepted" if verdict.may_be_champion else "refused"
            write_verdict(verdict, self._settings, **{_TAG_JUDGED: f"{event.number} {judged}"})
            self._tell(str(verdict))
        if judged == "refused":  # also by a watcher that died before it put anything back
            return self._put_back(name, event, before)
        return version

    def _put_back(self, name: str, event: Event, before: int | None) -> int | None:
        refused = f"{name}/{event.to_version}"
        reason = annotation(refused, TAG_REASON, self._settings) or "the gate"
        why = f"{refused}: refused; {reason}"
        if before is not None:
            try:
                promote(name, before, self._settings, why=why, source="gate", since=event.number)
            except ModelNotFound:
                before = None  # deleted since
        if before is None:
            demote(name, self._settings, CHAMPION, why=why, source="gate", since=event.number)
        put = f"{name}/{before} again" if before else "nobody"
        self._tell(f"{name}@{CHAMPION} is {put}")
        return before

    def _champion_before(
        self, name: str, events: Sequence[Event], first_start: datetime
    ) -> int | None:
        """The last champion that was not itself clicked and refused, or not yet judged."""
        for event in reversed(events[:-1]):
            is_judged = event.source == "page" and event.at >= first_start
            if not is_judged or event.to_version is None:
                return event.to_version
            if self._judged(name, event) == "accepted":
                return event.to_version
        return events[-1].from_version

    def _judged(self, name: str, event: Event) -> str | None:
        """What a watcher has said of a click; `None` if none has yet."""
        reference = f"{name}/{event.to_version}"
        try:
            said = annotation(reference, f"isthmus.{_TAG_JUDGED}", self._settings) or ""
        except ModelNotFound:
            return None
        number, _, word = said.partition(" ")
        return word if number == str(event.number) else None

    def _first_start(self) -> datetime | None:
        """When a watcher with this home first looked at this registry."""
        try:
            began = json.loads(self._began.read_text(encoding="utf-8"))
            return datetime.fromisoformat(began[self._settings.tracking_uri])
        except (OSError, ValueError, KeyError):
            return None

    def _begin(self) -> None:
        """What stands when the first watcher begins is taken as it is; what comes is judged."""
        self._began.parent.mkdir(parents=True, exist_ok=True)
        try:
            began = json.loads(self._began.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            began = {}
        beside = self._began.with_suffix(".new")
        said = {**began, self._settings.tracking_uri: datetime.now(UTC).isoformat()}
        beside.write_text(json.dumps(said, indent=2), encoding="utf-8")
        beside.replace(self._began)


def _said(name: str, event: Event) -> str:
    now = f"{name}/{event.to_version}" if event.to_version else "nobody"
    before = f"version {event.from_version}" if event.from_version else "nobody"
    return f"clicked in MLflow's page: {name}@{event.alias} is {now} (before: {before})"
