"""The append-only audit trail of a pair's aliases: who changed which alias, when, from, to and why.

MLflow keeps no history of aliases, but it never lets a run's parameter change its value. The
parameters of a run therefore serve as a log with compare-and-swap: event 12 is the parameter
`event.000012`, and if two processes write it at once, MLflow refuses one of them, which reads again
and takes the next number. Each event is written before the aliases are set (`event.000012`, the
intent) and confirmed afterwards (`done.000012`). `reconcile` completes events whose writer died
between the two.

A run holds 20 events. The next run begins with the position of each alias, so that the cost of
reading and writing the newest events does not grow with their number:

    experiment isthmus-history
      tag newest.digits = RUN                   a hint to the newest run, may be out of date
      root run          first.digits = RUN      the first run of each pair's trail
      run of digits     start = {}              the position of each alias
                        event.000001 = {...}    done.000001 = yes
                        ...
                        next = RUN              the run with the next 20

The hint is not a tag of the registered model because MLflow reads all versions of a model to return
its tags.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.aliases.events import Draft, Entry, Event, Head
from isthmus.errors import RegistryError
from isthmus.registry.halves import Standing
from isthmus.registry.lookup import GONE, newest_versions, no_model, open_registry, pair_names
from isthmus.registry.owner import Owner, actor
from isthmus.registry.patience import beside_others
from isthmus.registry.reference import check_name, encoder_name
from isthmus.registry.tags import PAIR_NAME
from isthmus.spec import Settings
from isthmus.tracking import INTERNAL, add_tags, store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "isthmus-history"
EVENTS_PER_RUN = 20
"""The events of a run. Reading the newest run costs the same with one event as with all 20."""
_TAG_ROOT = "isthmus.root"
_NEWEST = "newest.{}"
_START, _NUMBER, _PREVIOUS, _NEXT = "start", "number", "previous", "next"
_FIRST, _EVENT, _DONE = "first.{}", "event.{:06d}", "done.{:06d}"
# Applies to a text as JSON, where a character may take six. MLflow cuts a parameter's value at
# 6,000 characters, and an event that was cut could not be read.
_LONGEST_TEXT = 1000

_NO_ALIAS = "?"
"""A name that MLflow does not accept for an alias."""


def history(name: str, settings: Settings) -> tuple[Event, ...]:
    """Returns all changes of a pair's aliases, oldest first; empty if there were none.

    Raises:
        ModelNotFound: If nothing was ever registered, or no pair of that name.
        RegistryError: If the registry does not answer.
    """
    check_name(name)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        events = [entry.event for entry in Trail(client, name, settings).entries()]
        if not events and name not in (names := pair_names(client)):
            raise no_model(name, names, client)
        found = newest_versions(client, encoder_name(name), None) if events else []
    existing = {int(each.version) for each in found}

    def marked(event: Event) -> Event:
        named = (event.from_version, event.to_version)
        deleted = {each for each in named if each is not None} - existing
        return replace(event, deleted=tuple(sorted(deleted)))

    return tuple(map(marked, events))


class Trail:
    """The audit trail of one pair."""

    def __init__(self, client: MlflowClient, name: str, settings: Settings) -> None:
        """Creates the trail without reading it.

        Args:
            client: The client of the tracking store.
            name: The pair's name.
            settings: The settings that say where a new experiment stores its artifacts.
        """
        self._client = client
        self._name = name
        self._settings = settings
        self._tagged: str | None = None
        self._hint: str | None = None
        self._experiment_id = ""
        self._known: Head | None = None

    def head(self) -> Head | None:
        """Reads the newest run; returns `None` if the pair has no history yet.

        This takes two requests the first time and one later; rarely more.
        """
        run = self._run(self._hint) if self._hint else self._hinted_run()
        while run is not None and _NEXT in run.data.params:
            run = self._run(run.data.params[_NEXT])
        if run is None:
            return None
        self._hint, self._experiment_id = run.info.run_id, run.info.experiment_id
        self._known = _as_head(run)
        return self._known

    def last_read(self) -> Head | None:
        """Returns the newest run as last read, or reads it if there is no valid copy.

        A decision that is based on it is safe: an event that is appended to an outdated head is
        refused.
        """
        return self._known or self.head()

    def entries(self) -> list[Entry]:
        """Returns all events, oldest first."""
        head = self.head()
        newest_first: list[Entry] = []
        while head is not None:
            newest_first += reversed(head.entries)
            run = self._run(head.previous) if head.previous else None
            head = _as_head(run) if run else None
        return newest_first[::-1]

    def newer(self, alias: str, number: int, head: Head) -> Event | None:
        """Returns an alias's newest event if its number is above `number`, else `None`.

        Args:
            alias: The alias.
            number: The number of an event.
            head: The newest run.
        """
        at: Head | None = head
        while at is not None and at.next_number > number + 1:
            for entry in reversed(at.entries):
                if entry.event.alias == alias:
                    return entry.event if entry.event.number > number else None
            run = self._run(at.previous) if at.previous else None
            at = _as_head(run) if run else None
        return None

    def append(self, decide: Callable[[Head], Draft | None]) -> Entry | None:
        """Appends an event as an intent.

        Args:
            decide: Returns the event to write, given the newest run, or `None`. It is called again
                whenever another process has appended an event first.

        Returns:
            The event, or `None` if there was nothing to write.
        """
        while True:
            head, self._known = self.last_read(), None
            if head is None:
                self._begin()
            elif len(head.entries) >= EVENTS_PER_RUN:
                self._continue(head)
            else:
                draft = decide(head)
                if draft is None:
                    self._known = head
                    return None
                entry = _entry(draft, head)
                value = _to_json(entry)
                try:
                    if self._put(head.run_id, _EVENT.format(head.next_number), value) == value:
                        self._remember(head.run_id)
                        self._known = replace(head, entries=(*head.entries, entry))
                        return entry
                except BaseException:
                    entry.give_up()  # it may be written although the answer was lost
                    raise

    def confirm(self, entry: Entry) -> None:
        """Confirms that the aliases of an event, or of a later one, are set."""
        self._put(entry.run_id, _DONE.format(entry.event.number), "yes")

    def _run(self, run_id: str) -> Any:
        """Returns a run, or `None` if there is no run with that id."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in GONE:
                return None
            raise
        if run.info.lifecycle_stage == "deleted":
            raise RegistryError(
                f"the run {run_id}, which holds history of {self._name}, was deleted; restore it "
                f"with mlflow runs restore --run-id {run_id}"
            )
        return run

    def _put(self, run_id: str, key: str, value: str) -> str:
        """Sets a parameter unless it has a value; returns the value that it then has."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.log_param(run_id, key, value)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            found: str | None = self._client.get_run(run_id).data.params.get(key)
            if found is None:
                raise
            return found
        return value

    def _remember(self, run_id: str) -> None:
        if self._tagged != run_id:
            tag, key = self._client.set_experiment_tag, _NEWEST.format(self._name)
            beside_others(lambda: tag(self._experiment_id, key, run_id))
            self._tagged = run_id

    def _hinted_run(self) -> Any:
        """Returns the run that the hint names, or the first one if there is no valid hint."""
        experiment = self._experiment()
        if experiment is None:
            return None
        self._tagged = experiment.tags.get(_NEWEST.format(self._name))
        run = self._run(self._tagged) if self._tagged else None
        if run is None:
            params = self._client.get_run(experiment.tags[_TAG_ROOT]).data.params
            first: str | None = params.get(_FIRST.format(self._name))
            run = self._run(first) if first else None
        return run

    def _begin(self) -> None:
        """Creates the first run; deletes it again if another process created one first."""
        experiment = self._experiment() or self._create_experiment()
        add_tags(self._client, experiment, INTERNAL)
        run_id = self._create_run(experiment.experiment_id, {_START: "{}"})
        if self._put(experiment.tags[_TAG_ROOT], _FIRST.format(self._name), run_id) != run_id:
            self._client.delete_run(run_id)

    def _continue(self, full: Head) -> None:
        """Creates the run after a full one; deletes it if another process created one first."""
        start = {
            alias: [standing.version, standing.decoder_version]
            for alias, standing in full.standings().items()
        }
        params = {
            _START: json.dumps(start),
            _NUMBER: str(full.next_number),
            _PREVIOUS: full.run_id,
        }
        experiment_id = self._client.get_run(full.run_id).info.experiment_id
        run_id = self._create_run(experiment_id, params)
        if self._put(full.run_id, _NEXT, run_id) != run_id:
            self._client.delete_run(run_id)

    def _create_run(self, experiment_id: str, params: Mapping[str, str]) -> str:
        from mlflow.entities import Param

        tags = {"mlflow.runName": f"history of {self._name}", PAIR_NAME: self._name}
        run_id: str = self._client.create_run(experiment_id, tags=tags).info.run_id
        self._client.log_batch(run_id, params=[Param(*item) for item in params.items()])
        self._client.set_terminated(run_id)  # so that MLflow's UI does not show it as running
        return run_id

    def _experiment(self) -> Any:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            raise RegistryError(
                f'the MLflow experiment "{EXPERIMENT}", which holds who promoted what, was '
                "deleted; restore it with mlflow experiments restore --experiment-id "
                f"{experiment.experiment_id}"
            )
        return experiment

    def _create_experiment(self) -> Any:
        """Creates the experiment and its root run, or returns another process's experiment.

        No two experiments can have the same name, so the experiment is created under a temporary
        name and renamed once its root run exists.
        """
        from mlflow.exceptions import MlflowException

        root = self._settings.local_artifact_root
        location = (Path(root) / EXPERIMENT).absolute().as_uri() if root else None
        name = f"{EXPERIMENT}-{uuid.uuid4().hex[:8]}"
        made = self._client.create_experiment(name, location, dict(INTERNAL))
        run_id = self._client.create_run(made, tags={"mlflow.runName": "root"}).info.run_id
        self._client.set_terminated(run_id)
        self._client.set_experiment_tag(made, _TAG_ROOT, run_id)
        try:
            self._client.rename_experiment(made, EXPERIMENT)
        except MlflowException:
            self._client.delete_experiment(made)
            if self._experiment() is None:
                raise
        return self._experiment()


def _as_head(run: Any) -> Head:
    params = run.data.params
    first = int(params.get(_NUMBER, "1"))
    entries: list[Entry] = []
    for number in range(first, first + EVENTS_PER_RUN):
        value = params.get(_EVENT.format(number))
        if value is None:
            break
        entries.append(_from_json(value, number, run.info.run_id, _DONE.format(number) in params))
    start = json.loads(params.get(_START, "{}"))
    return Head(
        run_id=run.info.run_id,
        start={alias: Standing(*standing) for alias, standing in start.items()},
        entries=tuple(entries),
        first_number=first,
        previous=params.get(_PREVIOUS),
    )


def _entry(draft: Draft, head: Head) -> Entry:
    event = Event(
        number=head.next_number,
        at=datetime.now(UTC),
        actor=_shortened(draft.actor or actor()),
        source=draft.source,
        alias=draft.alias,
        from_version=head.standing(draft.alias).version,
        to_version=draft.to.version,
        why=_shortened(draft.why),
    )
    return Entry(event, draft.to.decoder_version, Owner.current(), head.run_id, is_done=False)


def _shortened(text: str) -> str:
    def fits(text: str) -> bool:
        return len(json.dumps(text, ensure_ascii=False)) - len('""') <= _LONGEST_TEXT

    if len(text) <= _LONGEST_TEXT and fits(text):
        return text
    kept = text[: _LONGEST_TEXT - 1]
    while not fits(f"{kept}…"):
        kept = kept[:-1]
    return f"{kept}…"


def _to_json(entry: Entry) -> str:
    event = entry.event
    content = {
        "at": event.at.isoformat(),
        "actor": event.actor,
        "source": event.source,
        "alias": event.alias,
        "from": event.from_version,
        "to": event.to_version,
        "decoder": entry.decoder_version,
        "why": event.why,
        "writer": [entry.writer.host, entry.writer.pid, entry.writer.started],
        # MLflow accepts a parameter again if its value is the same, so no two values may be equal.
        "nonce": uuid.uuid4().hex,
    }
    return json.dumps(content, ensure_ascii=False)


def _from_json(text: str, number: int, run_id: str, is_done: bool) -> Entry:
    try:
        content = json.loads(text)
        event = Event(
            number=number,
            at=datetime.fromisoformat(content["at"]),
            actor=content["actor"],
            source=content["source"],
            alias=content["alias"],
            from_version=content["from"],
            to_version=content["to"],
            why=content["why"],
        )
        return Entry(event, content["decoder"], Owner(*content["writer"]), run_id, is_done)
    except (ValueError, KeyError, TypeError):
        return _damaged(number, run_id)


def _damaged(number: int, run_id: str) -> Entry:
    """Returns a substitute for an event that cannot be read; it moves no alias.

    All other events still count. The lost move shows as an alias that is not where the other events
    say, like a change in MLflow's UI.
    """
    why = f"this event cannot be read; was the MLflow run {run_id} written to by hand?"
    at = datetime.fromtimestamp(0, UTC)
    event = Event(number, at, "unknown", "page", _NO_ALIAS, None, None, why)
    return Entry(event, None, Owner("unknown", 0, 0.0), run_id, is_done=True)
