"""Removes both halves of a pair from the registry: wholly, even if a process dies in between.

MLflow deletes one version at a time. Before the first, the registered model of the encoders gets a
tag `isthmus.deleting.VERSION`, and any process that repairs the registered model finishes what the
tag says. The encoder is deleted first, since it is what makes a pair visible.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.errors import ModelNotFound, RegistryError
from isthmus.registry import tags
from isthmus.registry.fetching import model_id_of
from isthmus.registry.halves import Halves
from isthmus.registry.lookup import GONE, find_decoder
from isthmus.registry.owner import actor
from isthmus.registry.reference import encoder_name
from isthmus.spec import Settings
from isthmus.tracking.deletions import DeletedPair, delete_files, note_deletion

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

_DELETING = "isthmus.deleting."


@dataclass(frozen=True)
class Removal:
    """The versions, models and run that are removed with a pair.

    Attributes:
        versions: The version of each registered model; the encoder's is first.
        models: The ids of MLflow's models behind them, which hold the files.
        run_id: The id of the run that made the pair.
        note: The note on that run.
    """

    versions: dict[str, int]
    models: list[str]
    run_id: str
    note: DeletedPair


def remove_pair(client: MlflowClient, name: str, encoder: Any, settings: Settings) -> None:
    """Removes both halves of a pair; if it fails halfway, the next repair finishes it.

    The files are deleted too, unless a copy by *Promote model* or another registration needs them.

    Args:
        client: The client of the registry.
        name: The pair's name.
        encoder: The version of its encoder.
        settings: The settings that say where the registry is.
    """
    halves = [encoder]
    with suppress(ModelNotFound):  # half a pair is removed as well
        halves.append(find_decoder(client, name, encoder))
    models = []
    for half in halves:
        with suppress(RegistryError):  # Isthmus did not make it, and its files are not ours
            models.append(model_id_of(client, half))
    at = datetime.now(UTC).isoformat(timespec="seconds")
    pair_id = encoder.tags.get(tags.PAIR_ID, "")
    removal = Removal(
        versions={half.name: int(half.version) for half in halves},
        models=models,
        run_id=encoder.run_id or "",
        note=DeletedPair(f"{name}/{encoder.version}", pair_id, at, actor()),
    )
    key = f"{_DELETING}{encoder.version}"
    client.set_registered_model_tag(encoder_name(name), key, json.dumps(asdict(removal)))
    _carry_out(client, removal, settings)
    client.delete_registered_model_tag(encoder_name(name), key)


def finish_removals(client: MlflowClient, name: str, halves: Halves, settings: Settings) -> None:
    """Finishes the removals that a process began and did not end."""
    for key, value in halves.encoder_tags.items():
        if key.startswith(_DELETING):
            content = json.loads(value)
            content["note"] = DeletedPair(**content["note"])
            removal = Removal(**content)
            _carry_out(client, removal, settings)
            client.delete_registered_model_tag(encoder_name(name), key)
            _logger.info("the removal of %s had died, and was finished", removal.note.name)


def unless_gone(delete: Callable[[], object]) -> None:
    """Deletes something in MLflow; nothing if another process deleted it first."""
    from mlflow.exceptions import MlflowException

    try:
        delete()
    except MlflowException as error:
        if error.error_code not in GONE:
            raise


def _carry_out(client: MlflowClient, removal: Removal, settings: Settings) -> None:
    if removal.run_id:
        note_deletion(client, removal.run_id, removal.note)
    for registered, version in removal.versions.items():
        unless_gone(partial(client.delete_model_version, registered, str(version)))
    if not _is_used(client, removal):
        for model_id in removal.models:
            unless_gone(partial(_delete_model, client, model_id, settings))


def _is_used(client: MlflowClient, removal: Removal) -> bool:
    """Returns whether another version has the same files: a copy, or one that somebody registered.

    A copy has the tags and the run; what was registered by hand from MLflow's model has none.
    """
    uses = [f"source_path = 'models:/{model_id}'" for model_id in removal.models]
    if removal.note.pair_id:
        uses.append(f"tags.`{tags.PAIR_ID}` = '{removal.note.pair_id}'")
    if removal.run_id:
        uses.append(f"run_id = '{removal.run_id}'")
    return any(client.search_model_versions(each, max_results=1) for each in uses)


def _delete_model(client: MlflowClient, model_id: str, settings: Settings) -> None:
    delete_files(client.get_logged_model(model_id).artifact_location, settings)
    client.delete_logged_model(model_id)
