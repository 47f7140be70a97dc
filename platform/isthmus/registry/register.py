"""Registers a trained pair: two MLflow models from one run, both or neither."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.core import Autoencoder
from isthmus.registry import tags
from isthmus.registry.artifacts import library_versions, write_artifact, write_weights
from isthmus.registry.card import Subject, write_card
from isthmus.registry.compatibility import write_maps
from isthmus.registry.manifest import HALVES, Half, PairManifest, sha256_of
from isthmus.registry.reference import decoder_name, encoder_name
from isthmus.registry.succession import NO_SUCCESSION, Succession
from isthmus.spec import DataSpec, JobSpec, Settings
from isthmus.tracking import open_store, store_errors
from isthmus.tracking.store import as_default_store, first_line

if TYPE_CHECKING:
    from mlflow.entities import RunInfo
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

# Two, for a signature made from one would look like it were for one.
_EXAMPLE_ROWS = 2


@dataclass(frozen=True)
class RegisteredPair:
    """A pair that the registry now holds.

    Attributes:
        name: Of the pair.
        version: Of the registered encoder; what people call the pair's version.
        decoder_version: Of the registered decoder.
        pair_id: Names the pair wherever it goes.
    """

    name: str
    version: int
    decoder_version: int
    pair_id: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class TrainedPair:
    """What training made, and all that is to be said of it.

    Attributes:
        module: With the best weights, calibrated.
        spec: The job.
        data: Its data with nothing left open.
        fingerprint: sha256 of the data.
        metrics: Figures on held-out rows.
        run_id: The MLflow run that made it.
        example: Shape (N >= 2, *row_shape). Rows to show what goes in.
        rows: Rows in each part of the split.
        succession: The champion that it is registered beside.
    """

    module: Autoencoder
    spec: JobSpec
    data: DataSpec
    fingerprint: str
    metrics: Mapping[str, float]
    run_id: str
    example: NDArray[np.float32]
    rows: Mapping[str, int] = field(default_factory=dict)
    succession: Succession = NO_SUCCESSION


def register_pair(trained: TrainedPair, settings: Settings) -> RegisteredPair:
    """Uploads both halves, then makes a version of each; if one fails, neither is left.

    Raises:
        RegistryError: If the store cannot be reached, or refuses.
    """
    client = open_store(settings)
    with store_errors(settings.tracking_uri), tempfile.TemporaryDirectory() as name:
        run = client.get_run(trained.run_id)
        models: dict[Half, str] = {
            half: client.create_logged_model(
                run.info.experiment_id, f"{trained.spec.name}-{half}", source_run_id=trained.run_id
            ).model_id
            for half in HALVES
        }
        manifest = _upload(client, trained, models, Path(name))
        with as_default_store(settings.tracking_uri):
            pair = _make_versions(client, manifest)
        _describe(client, manifest, pair, trained.succession, run.info)
    return pair


def _upload(
    client: MlflowClient, trained: TrainedPair, models: Mapping[Half, str], folder: Path
) -> PairManifest:
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    weights = write_weights(trained.module, folder)
    manifest = _manifest(trained, models, {half: sha256_of(weights[half]) for half in HALVES})
    if trained.succession.alignment:
        said = write_maps(trained.succession.alignment, folder)
        manifest = manifest.model_copy(update={"compatibility": said})
    rows = trained.example[:_EXAMPLE_ROWS]
    with torch.inference_mode():
        latents = trained.module.encode(torch.from_numpy(rows))
        decoded = trained.module.decode(latents).numpy()
    examples = {"encoder": (rows, latents.numpy()), "decoder": (latents.numpy(), decoded)}
    for half in HALVES:
        artifact = folder / half
        write_artifact(artifact, half, manifest, weights[half], *examples[half])
        client.log_model_artifacts(models[half], str(artifact))
        client.finalize_logged_model(models[half], LoggedModelStatus.READY)
    client.log_outputs(trained.run_id, [LoggedModelOutput(models[half], 0) for half in HALVES])
    return manifest


def _manifest(
    trained: TrainedPair, models: Mapping[Half, str], hashes: Mapping[Half, str]
) -> PairManifest:
    parts = [trained.run_id, trained.fingerprint, hashes["encoder"], hashes["decoder"]]
    libraries = library_versions()
    return PairManifest(
        pair_id=hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16],
        name=trained.spec.name,
        plan=trained.module.plan,
        data=trained.data,
        spec=trained.spec.model_dump(mode="json"),
        fingerprint=trained.fingerprint,
        sha256=hashes,
        models=models,
        run_id=trained.run_id,
        metrics=trained.metrics,
        isthmus_version=libraries["isthmus"],
        libraries=libraries,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=trained.rows,
    )


def _make_versions(client: MlflowClient, manifest: PairManifest) -> RegisteredPair:
    """The decoder's version first: an encoder that can be seen has its decoder already."""
    decoder = _make_version(client, manifest, "decoder", {})
    try:
        beside = {tags.DECODER_VERSION: str(decoder)}
        encoder = _make_version(client, manifest, "encoder", beside)
    except BaseException:
        client.delete_model_version(decoder_name(manifest.name), str(decoder))
        raise
    return RegisteredPair(manifest.name, encoder, decoder, manifest.pair_id)


def _make_version(
    client: MlflowClient, manifest: PairManifest, half: Half, beside: Mapping[str, str]
) -> int:
    from mlflow.exceptions import MlflowException

    name = encoder_name(manifest.name) if half == "encoder" else decoder_name(manifest.name)
    try:
        client.create_registered_model(name, tags={tags.PAIR_NAME: manifest.name, tags.HALF: half})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        source=f"models:/{manifest.models[half]}",
        run_id=manifest.run_id,
        model_id=manifest.models[half],
        tags={**tags.of_version(manifest, half), **beside},
    )
    return int(version.version)


def _describe(
    client: MlflowClient,
    manifest: PairManifest,
    pair: RegisteredPair,
    succession: Succession,
    run: RunInfo,
) -> None:
    """Writes the model card; a pair without one is whole, and stays."""
    versions: dict[Half, int] = {"encoder": pair.version, "decoder": pair.decoder_version}
    name = run.run_name or run.run_id[:8]
    try:
        write_card(client, Subject(manifest, versions, succession, run.experiment_id, name))
    except Exception as error:  # noqa: BLE001 (network, store and driver raise what they like)
        _logger.warning(
            "the model card of %s could not be written: %s", pair, first_line(str(error))
        )
