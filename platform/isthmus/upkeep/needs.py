"""Says why a version must not be deleted: what still needs it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.aliases import champion_before, named_by_history
from isthmus.registry import tags
from isthmus.registry.halves import Halves
from isthmus.registry.lineage import successors_of
from isthmus.registry.lookup import newest_versions
from isthmus.registry.reference import encoder_name
from isthmus.spec import Settings
from isthmus.tracking import find_outputs, runs_started_from

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class Spared:
    """A version or a run that is not deleted.

    Attributes:
        name: The version, such as `digits/3`, or the run's name.
        why: The reason, as in "it is champion".
    """

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} is kept: {self.why}"


class Needs:
    """What needs the versions of one pair, as the registry says now."""

    def __init__(self, client: MlflowClient, name: str, settings: Settings) -> None:
        """Reads the pair's versions, aliases and history.

        Args:
            client: The client of the registry.
            name: The pair's name.
            settings: The settings that say where the registry is.
        """
        self.versions: list[Any] = newest_versions(client, encoder_name(name), None)
        """All versions of the encoder, newest first."""
        self._client, self._name, self._settings = client, name, settings
        self._promised = named_by_history(name, settings)
        self._before = champion_before(name, settings)
        self._stopped = _stopped_runs(self.versions, settings)

    def why(self, version: Any, doomed: Collection[int] = ()) -> str | None:
        """Returns why a version must be kept; `None` if nothing needs it.

        Args:
            version: MLflow's version of the encoder.
            doomed: The versions that are deleted too, and need nothing any more.
        """
        aliases = self._aliases(version)
        if aliases:
            return f"it is {', '.join(aliases)}"
        number = int(version.version)
        for other in self.versions:
            maps_to = other.tags.get(tags.LATENTS_OF)
            if maps_to == f"{self._name}/{number}" and int(other.version) not in doomed:
                return f"the latents of {self._name}/{other.version} are mapped to its own"
        pair_id = version.tags.get(tags.PAIR_ID)
        if not pair_id:
            return None
        gone = {f"{self._name}/{each}" for each in doomed}
        trained = successors_of(self._client, [pair_id], self._settings).get(pair_id, ())
        for successor in trained:
            if successor not in gone:
                return f"{successor} was trained from it"
        stopped = self._stopped.get(pair_id)
        if stopped is not None:
            return f"run {stopped}, which is not finished, starts from it"
        outputs = find_outputs(self._settings, pair_ids=[pair_id])
        if outputs:
            more = f" and {len(outputs) - 1} more" if len(outputs) > 1 else ""
            return f"it made {outputs[0].path}{more}, see isthmus lineage {self._name}/{number}"
        return None

    def why_not_pruned(self, version: Any, doomed: Collection[int]) -> str | None:
        """Returns the same, and keeps what `isthmus rollback` would go back to as well."""
        if int(version.version) == self._before:
            return "isthmus rollback would make it champion again"
        return self.why(version, doomed)

    def _aliases(self, version: Any) -> list[str]:
        """Returns the aliases of either half, read anew: they may have moved a moment ago."""
        halves = Halves.read(self._client, self._name)
        decoder = int(version.tags.get(tags.DECODER_VERSION, 0))
        number = int(version.version)
        found = {each for each, at in self._promised.items() if at == number}
        for alias in halves.aliases:
            standing = halves.standing(alias)
            if standing.version == number or (decoder and standing.decoder_version == decoder):
                found.add(alias)
        return sorted(found)


def _stopped_runs(versions: Iterable[Any], settings: Settings) -> dict[str, str]:
    """Returns the newest run that starts from each pair and may be resumed, by the pair's id."""
    pair_ids = {each.tags[tags.PAIR_ID] for each in versions if each.tags.get(tags.PAIR_ID)}
    runs = runs_started_from(pair_ids, settings)
    return {run.start_pair_id or "": run.name for run in runs[::-1] if run.status != "FINISHED"}
