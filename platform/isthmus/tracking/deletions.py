"""Notes on a run that its pair was deleted, so that the lineage stays readable; deletes files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from isthmus.spec import Settings
from isthmus.tracking.store import is_empty_store, open_store, search_runs, store_errors

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_PREFIX = "isthmus.deleted."
GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")


@dataclass(frozen=True)
class DeletedPair:
    """A registered pair that was deleted.

    Attributes:
        name: The name and version, such as `digits/3`.
        pair_id: The id.
        at: The time of the deletion, ISO 8601.
        by: The user who deleted it, as `user@host`.
    """

    name: str
    pair_id: str
    at: str
    by: str


def note_deletion(client: MlflowClient, run_id: str, deleted: DeletedPair) -> None:
    """Notes on the run that made a pair that the pair was deleted; nothing if the run is gone."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_tag(run_id, f"{_PREFIX}{deleted.name}", json.dumps(asdict(deleted)))
    except MlflowException as error:
        if error.error_code not in GONE:
            raise


def deleted_in(run: Run) -> tuple[DeletedPair, ...]:
    """Returns the deleted pairs that a run registered."""
    tags: Mapping[str, str] = run.data.tags
    return tuple(
        DeletedPair(**json.loads(value))
        for key, value in sorted(tags.items())
        if key.startswith(_PREFIX)
    )


def run_of_deleted(name: str, settings: Settings) -> str | None:
    """Returns the id of the run that registered a deleted pair; `None` if it is not known.

    Args:
        name: The pair's name and version, such as `digits/3`.
        settings: The settings that say where the runs are.

    Raises:
        RegistryError: If the store cannot be reached.
    """
    if is_empty_store(settings):
        return None
    client = open_store(settings)
    with store_errors(settings.tracking_uri):
        found = search_runs(client, f"tags.`{_PREFIX}{name}` != ''")
        return found[0].info.run_id if found else None


def delete_files(location: str, settings: Settings) -> None:
    """Deletes all files at an artifact location; nothing if there are none."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(location, tracking_uri=settings.tracking_uri)
    if repository.list_artifacts():
        repository.delete_artifacts()
