"""Finds a pair by its name and builds it, complete and verified. It never mixes two pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.bundle.manifest import HALVES, PairManifest, read_manifest, weights_file
from isthmus.bundle.plugin_files import Needed
from isthmus.bundle.tensors import read_tensors
from isthmus.bundle.verification import verify
from isthmus.errors import RegistryError
from isthmus.registry import tags
from isthmus.registry.artifacts import build_detector
from isthmus.registry.device import Device, chosen_device
from isthmus.registry.fetching import fetch
from isthmus.registry.lookup import find_version, open_registry
from isthmus.registry.pair import Pair
from isthmus.registry.reference import CHAMPION, Reference
from isthmus.spec import Settings
from isthmus.tracking import store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class ResolvedPair:
    """Both halves of one pair on this machine's disk, with verified hashes.

    Attributes:
        reference: The pair's name and version, such as `digits/3`, also if an alias was asked for.
        version: The version of the encoder, or of a copied decoder if that was asked for.
        manifest: The pair's manifest.
        folder: The folder that holds `pair.json` and both weights files.
        trusts_plugins: Whether code that is stored with the pair may be run.
    """

    reference: str
    version: int
    manifest: PairManifest
    folder: Path
    trusts_plugins: bool = False

    @property
    def needed(self) -> Needed:
        """The code that the pair needs beside Isthmus."""
        return Needed.by(self.manifest, self.folder, self.reference, is_trusted=self.trusts_plugins)


def resolve(reference: str, settings: Settings) -> ResolvedPair:
    """Finds a pair, fetches it unless it is in the cache, and verifies it.

    Args:
        reference: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
        settings: The settings that say where the registry and the cache are.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If a half is missing, damaged or part of another pair, or if the registry
            does not answer; or if the gate has not let the champion, where `ISTHMUS_REQUIRE_GATE`
            asks for it.
    """
    parsed = Reference.parse(reference)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        found = _find(client, parsed, settings)
        folder = fetch(client, found, settings)
    manifest = read_manifest(folder)
    verify(folder, manifest)
    version = int(found.version)
    resolved = f"{parsed.name}/{version}"
    return ResolvedPair(resolved, version, manifest, folder, settings.trust_plugins)


def named_now(reference: str, settings: Settings) -> str:
    """Returns the pair that a reference names now, as `NAME/VERSION`; nothing is fetched.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If the registry does not answer, or if the gate has not let the champion,
            as in `resolve`.
    """
    parsed = Reference.parse(reference)
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        return f"{parsed.name}/{int(_find(client, parsed, settings).version)}"


def _find(client: MlflowClient, reference: Reference, settings: Settings) -> Any:
    """Returns the version that a reference means, unless the gate has to let it and has not."""
    found = find_version(client, reference)
    if settings.require_gate and reference.alias == CHAMPION:
        _refuse_unjudged(reference.name, found)
    return found


def _refuse_unjudged(name: str, version: Any) -> None:
    """Refuses a champion that was clicked and is not judged yet, or was refused."""
    if not tags.is_let_by_gate(version.tags):
        verdict = version.tags.get(tags.VERDICT) or "not judged yet"
        raise RegistryError(
            f"{name}@{CHAMPION} is {name}/{version.version}, which the gate has not let "
            f"({verdict}), and ISTHMUS_REQUIRE_GATE=1 asks for that; wait for isthmus watch, or "
            f"run isthmus promote {name} {version.version}"
        )


def load(reference: str, settings: Settings, device: Device = "cpu") -> Pair:
    """Resolves a pair as `resolve` does, and builds it, ready to use on a device.

    Raises:
        UsageError: If the device is a GPU and there is none.
        ModelNotFound: If there is no such pair.
        RegistryError: If a half is missing, damaged or part of another pair, or if the registry
            does not answer.
    """
    chosen_device(device)  # one that is not there is refused before anything is fetched
    return build(resolve(reference, settings)).to(device)


def build(resolved: ResolvedPair) -> Pair:
    """Builds a resolved pair from its files, ready to use.

    Raises:
        RegistryError: If its weights cannot be read, or do not fit its manifest; or if it needs
            code that is neither installed nor trusted.
    """
    resolved.needed.import_files()
    state = {}
    for half in HALVES:
        state.update(read_tensors(resolved.folder / weights_file(half)))
    detector, tables = build_detector(resolved.manifest, state)
    return Pair(detector, resolved.manifest, resolved.reference, tables)
