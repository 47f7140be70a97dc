"""`pair.json`: what binds an encoder and a decoder, and all that is needed to build them again.

It lies in both halves' artifacts, so it survives whatever is done to versions, tags and aliases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from isthmus.errors import RegistryError
from isthmus.registry.compatibility import Compatibility
from isthmus.spec import DataSpec, ModelPlan, SpecModel

Half = Literal["encoder", "decoder"]
HALVES: tuple[Half, Half] = ("encoder", "decoder")
MANIFEST_FILE = "pair.json"


class PairManifest(SpecModel):
    """The content of `pair.json`."""

    format_version: Literal[1] = 1
    """Of this file; a reader refuses what it does not know."""
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
    models: Mapping[Half, str]
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
    rows: Mapping[str, int] = {}
    """Rows in each part of the split."""
    compatibility: Compatibility | None = None
    """Maps to the latents of the champion of that moment, if there was one."""


def weights_file(half: Half) -> str:
    """The name of a half's weights in its artifact."""
    return f"{half}.safetensors"


def sha256_of(file: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
        return PairManifest.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RegistryError(f"{file} is missing; this is no half of an Isthmus pair") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise RegistryError(
            f"{file} is damaged, or was written by a later Isthmus; upgrade isthmus, or register "
            "the pair again"
        ) from error


def check_weights(folder: Path, half: Half, manifest: PairManifest) -> Path:
    """The weights file of a half, if it is what the manifest says.

    Raises:
        RegistryError: Naming the file.
    """
    file = folder / weights_file(half)
    if not file.is_file():
        raise RegistryError(f"{file} is missing; register the pair {manifest.pair_id} again")
    found = sha256_of(file)
    if found != manifest.sha256[half]:
        raise RegistryError(
            f"{file} is damaged: its sha256 is {found[:12]}..., and pair.json says "
            f"{manifest.sha256[half][:12]}...; restore it, or register the pair again"
        )
    return file
