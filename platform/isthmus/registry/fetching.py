"""Fetches the files of a pair from MLflow into this machine's cache, complete and verified.

Importing it loads no torch: the commands that only list and move versions need it for repairs.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.bundle.compatibility import MAPS_FILE
from isthmus.bundle.manifest import (
    HALVES,
    MANIFEST_FILE,
    Half,
    PairManifest,
    check_weights,
    read_manifest,
    weights_file,
)
from isthmus.bundle.plugin_files import stored_files
from isthmus.errors import RegistryError
from isthmus.spec import Settings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CONTENT_FOLDER = "pair"
"""The folder of an artifact that holds `pair.json` and the weights."""


def fetch(client: MlflowClient, version: Any, settings: Settings) -> Path:
    """Fetches both halves of the pair that a registered version belongs to.

    Returns:
        The folder on this machine that holds both halves.

    Raises:
        RegistryError: If the version is not a half of a pair, or if the pair is incomplete.
    """
    return fetch_model(client, model_id_of(client, version), settings)


def fetch_model(client: MlflowClient, model_id: str, settings: Settings) -> Path:
    """Fetches both halves of a pair, given MLflow's model id of either half.

    Returns:
        The folder on this machine that holds both halves.

    Raises:
        RegistryError: If the model is not a half of a pair, or if the pair is incomplete.
    """
    # A model in MLflow never changes, so the cache never has to be refreshed.
    folder = settings.cache / "pairs" / model_id
    if not (folder / MANIFEST_FILE).exists():
        _fetch(client, model_id, folder)
    return folder


def model_id_of(client: MlflowClient, version: Any) -> str:
    """Returns the id of MLflow's model behind a version, also for copies by *Promote model*.

    The source of a copy is another version, which may have been deleted. MLflow still knows where
    the files are, and their location names the model.

    Raises:
        RegistryError: If Isthmus did not register the version.
    """
    direct = re.fullmatch(r"models:/(m-[0-9a-f]+)", str(version.source))
    if direct:
        return direct[1]
    location = client.get_model_version_download_uri(version.name, version.version)
    stored = re.search(r"/(m-[0-9a-f]+)/artifacts/?$", location)
    if stored is None:
        raise RegistryError(
            f"{version.name} version {version.version} was not registered by Isthmus "
            f"(its source is {version.source}); choose a version that isthmus train made"
        )
    return stored[1]


def _fetch(client: MlflowClient, model_id: str, folder: Path) -> None:
    """Downloads both halves beside `folder`, verifies them, and renames them to it in one step."""
    with _temporary_beside(folder) as fetched:
        place = _place(client, model_id)
        asked = _download(client, place, model_id, fetched)
        manifest = read_manifest(asked, place)
        if model_id not in manifest.models.values():
            raise RegistryError(
                f"the artifact of {model_id} says it is {manifest.models['encoder']}; register "
                f"the pair {manifest.pair_id} again"
            )
        halves: dict[Half, tuple[Path, str]] = {}
        for half in HALVES:
            its_id = manifest.models[half]
            if its_id == model_id:
                halves[half] = asked, place
            else:
                its_place = _place(client, its_id)
                halves[half] = _download(client, its_place, its_id, fetched), its_place
        encoder, _ = halves["encoder"]
        whole = fetched / "whole"
        whole.mkdir()
        (encoder / MANIFEST_FILE).replace(whole / MANIFEST_FILE)
        for half, (folder_of_half, its_place) in halves.items():
            _take(folder_of_half, half, manifest, whole, its_place)
        for file in stored_files(encoder):
            file.replace(whole / file.name)
        if manifest.compatibility and (encoder / MAPS_FILE).exists():
            (encoder / MAPS_FILE).replace(whole / MAPS_FILE)
        try:
            os.replace(whole, folder)  # noqa: PTH105 (Path.replace would read like replacing text)
        except OSError:
            # If the folder is there, another process fetched the same pair in the meantime.
            if not (folder / MANIFEST_FILE).exists():
                raise


@contextmanager
def _temporary_beside(folder: Path) -> Iterator[Path]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-")
    except OSError as error:
        raise RegistryError(
            f"the cache {folder.parent} cannot be written to ({error.strerror}); free its disk, or "
            "set ISTHMUS_HOME to a folder that can be written to"
        ) from error
    with temporary as name:
        yield Path(name)


def _place(client: MlflowClient, model_id: str) -> str:
    """Returns where the store has the files of a half: the place to mend, not the copy of them."""
    return f"{client.get_logged_model(model_id).artifact_location}/data/{CONTENT_FOLDER}"


def _download(client: MlflowClient, place: str, model_id: str, destination: Path) -> Path:
    from mlflow.artifacts import download_artifacts

    target = destination / model_id
    target.mkdir()
    found = download_artifacts(
        artifact_uri=place,
        dst_path=str(target),
        tracking_uri=client.tracking_uri,
    )
    copied = target / "content"
    # For a local store MLflow returns the store's own files, which must not be moved.
    shutil.copytree(found, copied)
    return copied


def _take(source: Path, half: Half, manifest: PairManifest, destination: Path, called: str) -> None:
    file = check_weights(source, half, manifest, called)
    file.replace(destination / weights_file(half))
