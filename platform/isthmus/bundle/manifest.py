"""`pair.json`: what binds an encoder and a decoder, and all that is needed to build them again.

It lies in both halves' artifacts, so it survives whatever is done to versions, tags and aliases.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, StringConstraints, ValidationError

from isthmus.bundle.compatibility import Compatibility
from isthmus.bundle.formats import FORMAT, upgrade
from isthmus.data import sha256_of
from isthmus.errors import RegistryError
from isthmus.spec import DataSpec, ModelPlan, SpecModel

Half = Literal["encoder", "decoder"]
HALVES: tuple[Half, Half] = ("encoder", "decoder")
MANIFEST_FILE = "pair.json"
GraphName = Literal["encoder", "decoder", "score"]
GRAPHS: Mapping[Half, tuple[GraphName, ...]] = {
    "encoder": ("encoder",),
    "decoder": ("decoder", "score"),
}
"""The ONNX graphs that lie in each half's artifact."""
ONNX_DATA_SUFFIX = ".data"
"""Of the file beside a graph's own that holds its weights, where they are too large for one."""
# Names go into paths: none may lead out of a folder.
_ModelId = Annotated[str, StringConstraints(pattern=r"^m-[A-Za-z0-9]+$")]
_OnnxFile = Annotated[str, StringConstraints(pattern=r"^(encoder|decoder|score)\.onnx(\.data)?$")]


class OnnxExport(SpecModel):
    """The ONNX graphs of a pair, and how they were compared with torch before registration."""

    sha256: Mapping[_OnnxFile, str]
    """Of each file."""
    opset: int
    """Version of ONNX's operators."""
    tolerance: float
    """Largest difference of a latent or a row that was let pass, as a share of the largest."""
    score_tolerance: float
    """Largest difference of a score that was let pass, as a share of it or of the threshold."""
    checked_rows: int
    """Held-out rows that were compared."""
    largest_differences: Mapping[GraphName, float]
    """What was found, as shares."""


class PairManifest(SpecModel):
    """The content of `pair.json`."""

    # A figure that is no number is written as NaN, and not as null, which is none to read.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    format_version: Literal[2] = FORMAT
    """Of this file; `formats.py` reads the past ones."""
    pair_id: str
    """Names the pair; latents and outputs carry it."""
    name: str
    """The job's name."""
    plan: ModelPlan
    """What to build."""
    data: DataSpec
    """How the rows were read; new rows are read the same way."""
    spec: Mapping[str, Any]
    """The whole job."""
    fingerprint: str
    """sha256 of the data."""
    sha256: Mapping[Half, str]
    """Of each half's weights file."""
    models: Mapping[Half, _ModelId]
    """MLflow's LoggedModel of each half: how one half finds the other."""
    run_id: str
    """The MLflow run that made the pair."""
    metrics: Mapping[str, float]
    """Figures of the trained pair."""
    isthmus_version: str
    """The code that made it."""
    libraries: Mapping[str, str]
    """Versions of what it ran on."""
    created: str
    """When, ISO 8601, UTC."""
    threshold: float = math.nan
    """Scores above it are anomalies; as in the weights, for readers without them."""
    onnx: OnnxExport | None = None
    """The pair as ONNX graphs; format 1 had none."""
    rows: Mapping[str, int] = {}
    """Rows in each part of the split."""
    compatibility: Compatibility | None = None
    """Maps to the latents of the champion of that moment, if there was one."""


def weights_file(half: Half) -> str:
    """The name of a half's weights in its artifact."""
    return f"{half}.safetensors"


def onnx_file(graph: GraphName) -> str:
    """The name of a graph's file in its artifact."""
    return f"{graph}.onnx"


def write_manifest(manifest: PairManifest, folder: Path) -> None:
    """Writes `pair.json` into a folder."""
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")


def read_manifest(folder: Path) -> PairManifest:
    """Reads a folder's `pair.json`.

    Raises:
        RegistryError: If it is missing, damaged, or of a later format.
    """
    file = folder / MANIFEST_FILE
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RegistryError(f"{file} is missing; this is no half of an Isthmus pair") from error
    except ValueError as error:
        raise RegistryError(f"{file} is damaged; restore it, or register the pair again") from error
    try:
        return PairManifest.model_validate(upgrade(raw, str(file)))
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(
            f"{file} is damaged, or was written by another Isthmus "
            f"({_maker(raw)}); upgrade isthmus, or register the pair again"
        ) from error


def _maker(raw: object) -> str:
    version = raw.get("isthmus_version") if isinstance(raw, dict) else None
    return f"version {version}" if isinstance(version, str) else "version unknown"


def check_weights(folder: Path, half: Half, manifest: PairManifest) -> Path:
    """The weights file of a half, if it is what the manifest says.

    Raises:
        RegistryError: Naming the file.
    """
    return check_file(folder / weights_file(half), manifest.sha256[half], manifest)


def check_file(file: Path, sha256: str, manifest: PairManifest) -> Path:
    """The file, if it is what the manifest says.

    Raises:
        RegistryError: Naming the file.
    """
    if not file.is_file():
        raise RegistryError(f"{file} is missing; register the pair {manifest.pair_id} again")
    found = sha256_of(file)
    if found != sha256:
        raise RegistryError(
            f"{file} is damaged: its sha256 is {found[:12]}..., and pair.json says "
            f"{sha256[:12]}...; restore it, or register the pair again"
        )
    return file
