"""Finds registered versions that cannot be used any more: a half, the run or the files are gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.errors import ModelNotFound, RegistryError
from isthmus.registry import tags
from isthmus.registry.fetching import CONTENT_FOLDER, model_id_of
from isthmus.registry.lookup import (
    GONE,
    find_decoder,
    find_encoder_of,
    is_copy,
    newest_versions,
    open_registry,
    pair_names,
)
from isthmus.registry.reference import decoder_name, encoder_name
from isthmus.registry.versions import repaired
from isthmus.spec import Settings
from isthmus.tracking import store_errors
from isthmus.tracking.store import is_empty_store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_NEWEST = 50


@dataclass(frozen=True)
class Health:
    """The health of the registered versions.

    Attributes:
        versions: The number of versions that were looked at: the newest 50 of each pair.
        faults: One line for each that is not whole: what is wrong, and what to do.
    """

    versions: int
    faults: tuple[str, ...]


def examine_versions(settings: Settings) -> Health:
    """Looks for versions of which something is gone; what had died halfway is repaired first.

    Raises:
        RegistryError: If the registry does not answer.
    """
    if is_empty_store(settings):
        return Health(0, ())
    client = open_registry(settings)
    faults: list[str] = []
    count = 0
    with store_errors(settings.tracking_uri):
        for name in pair_names(client):
            repaired(client, name, settings)
            encoders = newest_versions(client, encoder_name(name), _NEWEST)
            decoders = newest_versions(client, decoder_name(name), _NEWEST)
            count += len(encoders)
            faults += [fault for each in encoders for fault in _of_pair(client, name, each)]
            faults += [fault for each in decoders for fault in _of_decoder(client, name, each)]
    return Health(count, tuple(faults))


def _of_pair(client: MlflowClient, name: str, encoder: Any) -> Iterator[str]:
    version = f"{name}/{encoder.version}"
    if tags.PAIR_ID not in encoder.tags:
        return  # another tool registered it
    halves = [encoder]
    try:
        halves.append(find_decoder(client, name, encoder))
    except ModelNotFound:
        if not is_copy(encoder):  # what copies lack is copied when it is needed
            yield f"{version} has no decoder; delete the rest with isthmus delete {version}"
    yield from _of_run(client, version, encoder.run_id or "")
    lost = [half.name for half in halves if not _has_files(client, half)]
    if lost:
        yield (
            f"{version}: the files of {' and '.join(lost)} are gone; restore them, or "
            f"isthmus delete {version}"
        )


def _of_decoder(client: MlflowClient, name: str, decoder: Any) -> Iterator[str]:
    if tags.PAIR_ID not in decoder.tags or is_copy(decoder):
        return
    try:
        find_encoder_of(client, name, decoder)
    except ModelNotFound:
        yield (
            f"{decoder.name} version {decoder.version} has no encoder; delete it in MLflow's page"
        )


def _of_run(client: MlflowClient, version: str, run_id: str) -> Iterator[str]:
    from mlflow.exceptions import MlflowException

    try:
        is_deleted = client.get_run(run_id).info.lifecycle_stage == "deleted"
    except MlflowException as error:
        if error.error_code not in GONE:
            raise
        yield f"{version}: its run {run_id[:8]} is gone, and with it its figures and held-out rows"
        return
    if is_deleted:
        yield f"{version}: its run was deleted; mlflow runs restore --run-id {run_id} restores it"


def _has_files(client: MlflowClient, half: Any) -> bool:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        location = client.get_logged_model(model_id_of(client, half)).artifact_location
    except (MlflowException, RegistryError) as error:
        if isinstance(error, MlflowException) and error.error_code not in GONE:
            raise
        return False
    repository: Any = get_artifact_repository(location, tracking_uri=client.tracking_uri)
    return bool(repository.list_artifacts(f"data/{CONTENT_FOLDER}"))
