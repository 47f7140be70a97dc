"""Watches MLflow for changes that people make in its UI, and lets the gate judge them.

A poller reads the positions of all aliases, in one request. A webhook only makes it read sooner,
because MLflow may lose a webhook call. `aliases.reconcile` completes and records each change in the
UI. The change then has to pass the gate, and is undone if the gate refuses it. The version itself
records whether it was judged, so that a new watcher continues where another stopped, and several
watchers do no harm.

If the gate cannot tell from so few rows, the change stays: whoever clicked is a person, who had the
figures of the version's card before their eyes. Until a click is judged, the clicked version is
champion: for a few seconds after the next poll. `ISTHMUS_REQUIRE_GATE=1` keeps jobs from using it.

Changes that were made before the first watcher of an `ISTHMUS_HOME` started are accepted unjudged.
This folder should therefore be kept: a watcher with a new one does not judge the changes that were
made while none was running.
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
from isthmus.promotion.champion import TAG_REASON, let_by_gate, write_verdict
from isthmus.promotion.gate import judge
from isthmus.promotion.reruns import Reruns
from isthmus.promotion.subscriptions import Subscription
from isthmus.registry import CHAMPION, annotation
from isthmus.spec import Settings

POLL_S = 5.0
_LONGEST_BACKOFF_S = 60.0
# Looks at every pair this often, because work that another process left unfinished may not show in
# any alias.
_LOOK_AT_ALL_S = 60.0
_WHILE_RUNNING_S = 0.5
_TAG_JUDGED = "gate_event"
_logger = logging.getLogger(__name__)

OnLine = Callable[[str], None]


class Bell:
    """A thread-safe signal that wakes the watcher, with the names of the changed pairs."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def ring(self, name: str) -> None:
        """Wakes the watcher for a pair."""
        with self._lock:
            self._names.add(name)
        self._rung.set()

    def wait(self, timeout_s: float) -> set[str]:
        """Returns the pairs that have rung, as soon as there are any; none after the timeout."""
        self._rung.wait(timeout_s)
        with self._lock:
            self._rung.clear()
            names, self._names = self._names, set()
        return names


class Watcher:
    """Polls the registry, judges and undoes changes, and starts reruns, in the calling thread."""

    def __init__(
        self,
        settings: Settings,
        on_line: OnLine,
        *,
        subscriptions: Sequence[Subscription] = (),
        poll_s: float = POLL_S,
    ) -> None:
        """Creates the watcher without reading the registry.

        Args:
            settings: The settings that say where the registry is.
            on_line: A function that is called with a line about each event.
            subscriptions: The jobs that run again for a new champion.
            poll_s: The time between two polls, in seconds.
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
        """Processes once all pairs whose aliases have moved, and those that have rung.

        Raises:
            RegistryError: If the registry does not answer. The next call continues where this one
                ended.
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
        """Waits until a pair rings or the time is over; meanwhile reruns are ended and started."""
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
                self._reruns.follow(name, champion)  # not one set in the UI meanwhile
        except Overtaken:
            pass  # someone has chosen another champion, which the next poll judges
        except RegistryError:
            raise
        except IsthmusError as error:
            self._tell(f"{name}: {error}")  # it concerns only this pair, so the others continue
        except Exception:
            _logger.exception("%s: an error of Isthmus itself; the other pairs go on", name)

    def _pass_gate(self, name: str, events: Sequence[Event], first_start: datetime) -> int | None:
        """Judges the newest champion if it was set in MLflow's UI, and undoes it if refused.

        Returns:
            The champion afterwards.

        Raises:
            Overtaken: If it was refused, but someone has chosen another champion meanwhile.
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
            judged = "accepted" if verdict.may_be_chosen else "refused"
            let = let_by_gate(verdict, is_chosen=True)
            word = f"{event.number} {judged}"
            write_verdict(verdict, self._settings, let, **{_TAG_JUDGED: word})
            stays = "; it stays, for a person chose it" if let == "chosen" else ""
            self._tell(f"{verdict}{stays}")
        if judged == "refused":  # even if by a watcher that died before it undid it
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
        """Returns the last champion, except for changes in the UI that are not accepted."""
        for event in reversed(events[:-1]):
            is_judged = event.source == "page" and event.at >= first_start
            if not is_judged or event.to_version is None:
                return event.to_version
            if self._judged(name, event) == "accepted":
                return event.to_version
        return events[-1].from_version

    def _judged(self, name: str, event: Event) -> str | None:
        """Returns a watcher's judgement of a change in the UI; `None` if there is none yet."""
        reference = f"{name}/{event.to_version}"
        try:
            said = annotation(reference, f"isthmus.{_TAG_JUDGED}", self._settings) or ""
        except ModelNotFound:
            return None
        number, _, word = said.partition(" ")
        return word if number == str(event.number) else None

    def _first_start(self) -> datetime | None:
        """Returns when a watcher with this home first polled this registry; `None` if never."""
        try:
            began = json.loads(self._began.read_text(encoding="utf-8"))
            return datetime.fromisoformat(began[self._settings.tracking_uri])
        except (OSError, ValueError, KeyError):
            return None

    def _begin(self) -> None:
        """Records the first start: earlier changes are accepted unjudged, later ones are judged."""
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
