"""`pair.json`: links an encoder to its decoder and has everything needed to build them again.

It is in the artifacts of both halves, so it survives any change of versions, tags and aliases.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, field_validator

from isthmus.bundle.compatibility import Compatibility
from isthmus.bundle.formats import FORMAT, upgrade
from isthmus.bundle.held_out import HeldOutRecord
from isthmus.bundle.plugin_files import PluginRecord
from isthmus.data import sha256_of
from isthmus.errors import RegistryError
from isthmus.spec import DataSpec, ModelPlan, PluginSpec, RowSchema, SpecModel
from isthmus.spec.faults import NEEDED

Half = Literal["encoder", "decoder"]
HALVES: tuple[Half, Half] = ("encoder", "decoder")
MANIFEST_FILE = "pair.json"
GraphName = Literal["encoder", "decoder", "score"]
CalibrationWay = Literal["split", "crossed", "shared"]
"""The way in which the rows that a threshold rests on were kept from training. `split`: they are
rows of their own. `crossed`: each is scored by the members of an ensemble that were not trained on
it. `shared`: they are the validation rows, which also chose the epoch."""
GRAPHS: Mapping[Half, tuple[GraphName, ...]] = {
    "encoder": ("encoder",),
    "decoder": ("decoder", "score"),
}
"""The ONNX graphs in the artifact of each half."""
ONNX_DATA_SUFFIX = ".data"
"""The suffix of the file that holds a graph's weights if they do not fit into the ONNX file."""
# These names become parts of paths, so none may lead out of a folder.
_ModelId = Annotated[str, StringConstraints(pattern=r"^m-[A-Za-z0-9]+$")]
_OnnxFile = Annotated[str, StringConstraints(pattern=r"^(encoder|decoder|score)\.onnx(\.data)?$")]


class OnnxExport(SpecModel):
    """The ONNX graphs of a pair, and how they were compared with torch before registration."""

    sha256: Mapping[_OnnxFile, str]
    """The sha256 of each file."""
    opset: int
    """The version of the ONNX operators."""
    tolerance: float
    """The largest allowed difference of a latent or a row, as a fraction of the largest value."""
    score_tolerance: float
    """The largest allowed difference of a score, as a fraction of the score or of the threshold."""
    checked_rows: int
    """The number of held-out rows that were compared."""
    largest_differences: Mapping[GraphName, float]
    """The largest differences that were found, as fractions."""


class DetectorRecord(SpecModel):
    """The entry of `pair.json` about the detector: its score, and the rows behind its threshold."""

    scoring: PluginSpec
    """The score with all its options."""
    members: int = Field(default=1, ge=1, le=1024)
    """The number of autoencoders whose scores are averaged, the pair's own included."""
    size_bytes: int = 0
    """The bytes that the detector takes besides the pair's own autoencoder: the other members, and
    what the scores remember; 0 if the number is not known."""
    calibration_rows: int = 0
    """The number of normal rows that the calibration rests on, or of independent ones that
    overlapping windows of series are worth; 0 if it is not known."""
    calibration_steps: int = 0
    """The number of steps of series that the scores of single steps are compared with."""
    independent_steps: int = 0
    """The number of independent steps that these are worth."""
    calibrated_by: CalibrationWay = "shared"
    """The way in which these rows were kept from training; see `CalibrationWay`."""


class CoderRecord(SpecModel):
    """The integer tables with which a pair writes symbols to files."""

    tables: int = Field(ge=1)
    """The number of tables."""
    size_bytes: int
    """The bytes that the tables take, beside the decoder's weights."""


class PairManifest(SpecModel):
    """The content of `pair.json`."""

    # Writes a NaN metric as NaN, because null could not be read as a number.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    format_version: Literal[5] = FORMAT
    """The format of this file; `formats.py` reads the earlier ones."""
    pair_id: str
    """The id of the pair, which its latents and outputs carry."""
    name: str
    """The name of the job."""
    plan: ModelPlan
    """The plan that the module is built from."""
    data: DataSpec
    """The data options that the rows were read with; new rows are read the same way."""
    row_schema: RowSchema | None = None
    """The schema of the training rows, which new rows are checked against. Old pairs have none."""
    spec: Mapping[str, Any]
    """The whole job."""
    fingerprint: str
    """The sha256 of the data."""
    sha256: Mapping[Half, str]
    """The sha256 of the weights file of each half."""
    models: Mapping[Half, _ModelId]
    """The id of MLflow's LoggedModel of each half, by which one half finds the other."""
    run_id: str
    """The id of the MLflow run that made the pair."""
    metrics: Mapping[str, float]
    """The metrics of the trained pair."""
    isthmus_version: str
    """The version of Isthmus that made the pair."""
    libraries: Mapping[str, str]
    """The versions of the libraries that it was made with."""
    created: str
    """The time of creation, ISO 8601, UTC."""
    threshold: float = math.nan
    """The score above which a row is an anomaly. The weights contain it too; this copy is for
    readers without the weights."""
    detector: DetectorRecord = DetectorRecord(scoring=PluginSpec(name="own"))
    """The detector: its score, and the rows that its threshold rests on."""
    coder: CoderRecord | None = None
    """The tables of a pair that compresses; `None` if its latent is no whole numbers, and in pairs
    that were registered before there were tables."""
    onnx: OnnxExport | None = None
    """The pair's ONNX graphs. Format 1 had none."""
    started_from: str | None = None
    """The id of the pair whose weights training started with; `None` if it drew them."""
    rows: Mapping[str, int] = {}
    """The number of rows in each part of the split."""
    not_reconstructed: tuple[str, ...] = ()
    """The features or channels that are hardly reconstructed, if at all: less than 5 % of their
    variance on held-out rows."""
    plugins: tuple[PluginRecord, ...] = ()
    """The plugins that the pair needs: variants, nets and others from files and packages."""
    compatibility: Compatibility | None = None
    """The maps to the latents of the champion at the registration, if there was one."""
    held_out: HeldOutRecord | None = None
    """The sample of held-out rows that is stored with the run; `None` in pairs that were registered
    before there was one, and if `data.keep_held_out` is false."""

    @field_validator("sha256", "models")
    @classmethod
    def _has_both_halves(cls, of_halves: Mapping[Half, str]) -> Mapping[Half, str]:
        if missing := [half for half in HALVES if half not in of_halves]:
            raise ValueError(f"has no {' and no '.join(missing)}")
        return of_halves

    @property
    def rows_taken(self) -> RowSchema:
        """The schema of the rows that the pair takes; old pairs know only their kind and shape."""
        if self.row_schema is not None:
            return self.row_schema
        return RowSchema(
            kind=self.plan.kind, shape=self.plan.row_shape, features=self.data.feature_names
        )


def weights_file(half: Half) -> str:
    """Returns the name of a half's weights file in its artifact."""
    return f"{half}.safetensors"


def onnx_file(graph: GraphName) -> str:
    """Returns the name of a graph's file in its artifact."""
    return f"{graph}.onnx"


def write_manifest(manifest: PairManifest, folder: Path) -> None:
    """Writes `pair.json` into a folder."""
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")


def read_manifest(folder: Path, called: str | None = None) -> PairManifest:
    """Reads the `pair.json` of a folder.

    Args:
        folder: The folder.
        called: The name for messages, if it is a copy of another place.

    Raises:
        RegistryError: If it is missing, damaged, or of a newer format.
    """
    file = f"{called or folder}/{MANIFEST_FILE}"
    try:
        raw = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise RegistryError(f"{file} is missing; this is no half of an Isthmus pair") from error
    # JSON may be nested more deeply than Python's stack.
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{file} is damaged; restore it, or register the pair again") from error
    try:
        return PairManifest.model_validate(upgrade(raw, file))
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(
            f"{file} is damaged, or was written by another Isthmus ({_maker(raw)}"
            f"{_first_fault(error)}); upgrade isthmus, or register the pair again"
        ) from error


def _maker(raw: object) -> str:
    version = raw.get("isthmus_version") if isinstance(raw, dict) else None
    return f"version {version}" if isinstance(version, str) else "version unknown"


def _first_fault(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return ""
    first = error.errors()[0]
    where, value = ".".join(map(str, first["loc"])), repr(first["input"])
    if first["type"] == "value_error":
        return f"; {where} {first['msg'].removeprefix('Value error, ')}"
    needed = NEEDED.get(first["type"])
    said = f"Input should be {needed}" if needed else first["msg"]
    return f"; {where}: {said}, not {value if len(value) <= 60 else value[:57] + '...'}"


def check_weights(
    folder: Path, half: Half, manifest: PairManifest, called: str | None = None
) -> Path:
    """Returns the path of a half's weights file after checking its hash against the manifest.

    Args:
        folder: The folder with the file.
        half: The half.
        manifest: The pair's manifest.
        called: The name of the folder for messages, if it is a copy of another place.

    Raises:
        RegistryError: If the file is missing or damaged. The message names it.
    """
    name = weights_file(half)
    shown = f"{called or folder}/{name}"
    return check_file(folder / name, manifest.sha256[half], manifest, shown)


def check_file(file: Path, sha256: str, manifest: PairManifest, called: str | None = None) -> Path:
    """Returns the path of a file after checking that it exists and has the given sha256.

    Raises:
        RegistryError: If the file is missing or damaged. The message names it.
    """
    shown = called or str(file)
    if not file.is_file():
        raise RegistryError(f"{shown} is missing; register the pair {manifest.pair_id} again")
    found = sha256_of(file)
    if found != sha256:
        raise RegistryError(
            f"{shown} is damaged: its sha256 is {found[:12]}..., and pair.json says "
            f"{sha256[:12]}...; restore it, or register the pair again"
        )
    return file
