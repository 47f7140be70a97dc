"""Says why a version must not be deleted: what still needs it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from isthmus.aliases import champion_before, named_by_history
from isthmus.registry import tags
from isthmus.registry.halves import Halves
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
    """Finds the aliases, unfinished runs, outputs and maps that need the versions of one pair."""

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
        self._maps = _maps(self.versions, name)

    def why(self, version: Any) -> str | None:
        """Returns why a version must be kept; `None` if nothing needs it.

        A pair that was trained from it does not: its weights are complete, and lineage shows what
        it was trained from as deleted.

        Args:
            version: MLflow's version of the encoder.
        """
        number = int(version.version)
        return self.why_itself(version) or next(
            (_mapped(self._name, other) for other, to in self._maps.items() if to == number), None
        )

    def why_itself(self, version: Any) -> str | None:
        """Returns the same, whatever is mapped to its latents."""
        aliases = self._aliases(version)
        if aliases:
            return f"it is {', '.join(aliases)}"
        pair_id = version.tags.get(tags.PAIR_ID)
        if not pair_id:
            return None
        stopped = self._stopped.get(pair_id)
        if stopped is not None:
            return f"run {stopped}, which is not finished, starts from it"
        outputs = find_outputs(self._settings, pair_ids=[pair_id])
        if outputs:
            more = f" and {len(outputs) - 1} more" if len(outputs) > 1 else ""
            see = f"isthmus lineage {self._name}/{version.version}"
            return f"it made {outputs[0].path}{more}, see {see}"
        return None

    def why_not_pruned(self, version: Any) -> str | None:
        """Returns the same, and keeps what `isthmus rollback` would go back to as well."""
        if int(version.version) == self._before:
            return "isthmus rollback would make it champion again"
        return self.why_itself(version)

    def why_mapped(self, kept: Collection[int]) -> dict[int, str]:
        """Returns which map leads to each version that kept ones need for their maps.

        Needed are the maps of a kept version to the latents of the champion of its time, and those
        that lead on to another kept version. Every champion is mapped to the one before it, so that
        to keep what any version is mapped to would keep all champions for ever.

        Args:
            kept: The versions that are kept for a reason of their own.

        Returns:
            The reasons by version.
        """
        found: dict[int, str] = {}
        for first in sorted(kept, reverse=True):
            chain = {first: None}  # in order; where a kept version is met, its own turn goes on
            here = first
            while (target := self._maps.get(here)) is not None:
                if target in kept or target in chain:
                    break
                chain[target] = None
                here = target
            needed = list(chain) if target in kept else list(chain)[:2]
            for start, end in pairwise(needed):
                found.setdefault(end, _mapped(self._name, start))
        return found

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


def _maps(versions: Iterable[Any], name: str) -> dict[int, int]:
    """Returns the version of the same pair to whose latents each version's are mapped."""
    found = {int(each.version): each.tags.get(tags.LATENTS_OF, "") for each in versions}
    targets = {number: target.rpartition("/") for number, target in found.items()}
    return {
        number: int(version)
        for number, (of, _, version) in targets.items()
        if of == name and version.isdecimal()
    }


def _mapped(name: str, version: int) -> str:
    return f"the latents of {name}/{version} are mapped to its own"


def _stopped_runs(versions: Iterable[Any], settings: Settings) -> dict[str, str]:
    """Returns the newest run that starts from each pair and may be resumed, by the pair's id."""
    pair_ids = {each.tags[tags.PAIR_ID] for each in versions if each.tags.get(tags.PAIR_ID)}
    runs = runs_started_from(pair_ids, settings)
    return {run.start_pair_id or "": run.name for run in runs[::-1] if run.status != "FINISHED"}
