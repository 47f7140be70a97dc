"""Registers a trained pair as two MLflow models of one run: both of them or neither."""

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

from isthmus.bundle import code_tables
from isthmus.bundle.compatibility import MAPS_FILE, write_maps
from isthmus.bundle.detectors import tensors_of
from isthmus.bundle.export import Exported, export_graphs
from isthmus.bundle.held_out import HeldOutSample
from isthmus.bundle.manifest import (
    GRAPHS,
    HALVES,
    CalibrationWay,
    CoderRecord,
    DetectorRecord,
    Half,
    OnnxExport,
    PairManifest,
)
from isthmus.bundle.plugin_files import records_of, write_files
from isthmus.core import Autoencoder, IntTable
from isthmus.data import sha256_of
from isthmus.data.prepared.centring import restored
from isthmus.registry.artifacts import library_versions, write_artifact, write_weights
from isthmus.registry.card import describe
from isthmus.registry.fetching import CONTENT_FOLDER
from isthmus.registry.held_out import store_held_out
from isthmus.registry.patience import patient
from isthmus.registry.reference import half_name
from isthmus.registry.score_model import write_score_model
from isthmus.registry.succession import NO_SUCCESSION, Succession
from isthmus.registry.versions import RegisteredPair, register_versions
from isthmus.scores import Detector
from isthmus.spec import DataSpec, JobSpec, PluginSpec, RowSchema, Settings
from isthmus.tracking import open_store, store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_logger = logging.getLogger(__name__)

# Two, because a signature inferred from one row would look as if it were for one row only.
_EXAMPLE_ROWS = 2


@dataclass(frozen=True)
class TrainedPair:
    """The result of a training run, with everything that is registered with it.

    Attributes:
        detector: The module with the best weights, and what detects anomalies with it, calibrated.
        spec: The job.
        data: The job's data options, with all open values resolved.
        fingerprint: The sha256 of the data.
        metrics: The metrics on held-out rows.
        run_id: The id of the MLflow run that made the pair.
        example: Shape (N >= 2, *row_shape), data units less the centre. Held-out rows: the first
            two become the input example, and all of them are used to compare the ONNX graphs with
            torch.
        rows: The number of rows in each part of the split.
        row_schema: The schema of the training rows.
        succession: The champion at this registration, and how their latents relate.
        not_reconstructed: The names of the features that are hardly reconstructed, if at all.
        held_out: The sample of held-out rows to store with the pair; `None` if none may be stored.
        scoring: The score of the detector, with all its options.
        calibration_rows: The number of rows that the detector's calibration rests on.
        calibrated_by: The way in which these rows were kept from training.
        code_tables: The tables with which the pair compresses, if it can.
        started_from: The id of the pair whose weights training started with, if it did.
    """

    detector: Detector
    spec: JobSpec
    data: DataSpec
    fingerprint: str
    metrics: Mapping[str, float]
    run_id: str
    example: NDArray[np.float32]
    rows: Mapping[str, int] = field(default_factory=dict)
    row_schema: RowSchema | None = None
    succession: Succession = NO_SUCCESSION
    not_reconstructed: tuple[str, ...] = ()
    held_out: HeldOutSample | None = None
    scoring: PluginSpec = field(default_factory=lambda: PluginSpec(name="own"))
    calibration_rows: int = 0
    calibrated_by: CalibrationWay = "shared"
    code_tables: tuple[IntTable, ...] = ()
    started_from: str | None = None

    @property
    def module(self) -> Autoencoder:
        """The autoencoder of the pair."""
        return self.detector.module

    @property
    def centre(self) -> tuple[float, ...] | None:
        """The value that was subtracted from each feature of the rows; `None` if none was."""
        return None if self.row_schema is None else self.row_schema.centre


def register_pair(trained: TrainedPair, settings: Settings) -> RegisteredPair:
    """Uploads both halves, then creates a version of each; if one fails, neither is left.

    If the server does not answer, requests are retried for a minute. After a failure the same pair
    can be registered again; it is never registered twice.

    Raises:
        RegistryError: If the store cannot be reached or refuses the pair, or if an ONNX graph
            differs from the trained module.
    """
    client = patient(open_store(settings))
    with store_errors(settings.tracking_uri), tempfile.TemporaryDirectory() as name:
        # The export comes first, because a pair that it refuses then leaves nothing behind.
        exported = export_graphs(
            trained.detector,
            trained.example,
            Path(name) / "graphs",
            fills_missing=trained.data.missing == "mean",
            centre=trained.centre,
        )
        experiment_id = client.get_run(trained.run_id).info.experiment_id
        models: dict[Half, str] = {
            half: client.create_logged_model(
                experiment_id, half_name(trained.spec.name, half), source_run_id=trained.run_id
            ).model_id
            for half in HALVES
        }
        manifest = _upload(client, trained, models, exported, Path(name))
        pair = register_versions(client, manifest, settings)
        versions: dict[Half, int] = {"encoder": pair.version, "decoder": pair.decoder_version}
        describe(client, manifest, versions, trained.succession)
    return pair


def _upload(
    client: MlflowClient,
    trained: TrainedPair,
    models: Mapping[Half, str],
    exported: Exported,
    folder: Path,
) -> PairManifest:
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    weights = write_weights(trained.detector, trained.code_tables, folder)
    hashes = {half: sha256_of(weights[half]) for half in HALVES}
    manifest = _manifest(trained, models, hashes, exported.record)
    maps: list[Path] = []
    if trained.succession.alignment:
        said = write_maps(trained.succession.alignment, folder)
        manifest = manifest.model_copy(update={"compatibility": said})
        maps = [folder / MAPS_FILE]
    if trained.held_out is not None:
        kept = store_held_out(client, trained.run_id, trained.held_out, folder)
        manifest = manifest.model_copy(update={"held_out": kept})
    own_code = write_files(manifest.plugins, folder)
    rows = trained.example[:_EXAMPLE_ROWS]
    with torch.inference_mode():
        latents = trained.module.encode(torch.from_numpy(rows))
        decoded = trained.module.decode(latents).numpy()
    rows, decoded = restored(rows, trained.centre), restored(decoded, trained.centre)
    examples = {"encoder": (rows, latents.numpy()), "decoder": (latents.numpy(), decoded)}
    for half in HALVES:
        artifact = folder / half
        files = [weights[half], *(file for name in GRAPHS[half] for file in exported.files[name])]
        files += maps if half == "encoder" else []
        files += own_code
        write_artifact(artifact, half, manifest, files, *examples[half])
        if half == "decoder":
            write_score_model(artifact / "data" / CONTENT_FOLDER, manifest, rows)
        client.log_model_artifacts(models[half], str(artifact))
        client.finalize_logged_model(models[half], LoggedModelStatus.READY)
    client.log_outputs(trained.run_id, [LoggedModelOutput(models[half], 0) for half in HALVES])
    return manifest


def _manifest(
    trained: TrainedPair,
    models: Mapping[Half, str],
    hashes: Mapping[Half, str],
    onnx: OnnxExport,
) -> PairManifest:
    parts = [trained.run_id, trained.fingerprint, hashes["encoder"], hashes["decoder"]]
    libraries = library_versions()
    return PairManifest(
        pair_id=hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16],
        name=trained.spec.name,
        plan=trained.module.plan,
        data=trained.data,
        row_schema=trained.row_schema,
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
        not_reconstructed=trained.not_reconstructed,
        threshold=float(trained.detector.calibration.threshold),
        detector=DetectorRecord(
            scoring=trained.scoring,
            members=len(trained.detector.members),
            size_bytes=sum(each.nbytes for each in tensors_of(trained.detector).values()),
            calibration_rows=trained.calibration_rows,
            **_steps_of_calibration(trained.detector),
            calibrated_by=trained.calibrated_by,
        ),
        plugins=records_of(trained.module.plan, trained.scoring),
        coder=_coder_record(trained.code_tables),
        onnx=onnx,
        started_from=trained.started_from,
    )


def _steps_of_calibration(detector: Detector) -> dict[str, int]:
    calibration = detector.point_calibration
    if calibration is None:
        return {}
    steps = calibration.rows if calibration.scored is None else int(calibration.scored)
    return {"calibration_steps": steps, "independent_steps": calibration.rows}


def _coder_record(tables: tuple[IntTable, ...]) -> CoderRecord | None:
    stored = code_tables.tensors_of(tables)
    size_bytes = sum(each.nbytes for each in stored.values())
    return CoderRecord(tables=len(tables), size_bytes=size_bytes) if tables else None
