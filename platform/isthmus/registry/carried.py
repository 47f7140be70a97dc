"""A pair that travels by value, so that a process without the registry loads the very same."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus.bundle.manifest import read_manifest
from isthmus.bundle.verification import verify
from isthmus.registry.device import Device
from isthmus.registry.pair import Pair
from isthmus.registry.resolve import ResolvedPair, build


@dataclass(frozen=True)
class CarriedPair:
    """The files of a resolved pair.

    Attributes:
        reference: The pair's name and version, such as `digits/3`.
        version: The version.
        files: The content of each file, by its name.
    """

    reference: str
    version: int
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, resolved: ResolvedPair) -> CarriedPair:
        """Reads the files of a pair."""
        files = {each.name: each.read_bytes() for each in resolved.folder.iterdir()}
        return cls(resolved.reference, resolved.version, files)

    def load(self, device: Device) -> Pair:
        """Builds the pair on a device, once its hashes are verified.

        Raises:
            RegistryError: If the files are not those of a whole pair.
            UsageError: If the device is a GPU and there is none.
        """
        with tempfile.TemporaryDirectory(prefix="isthmus-pair-") as name:
            folder = Path(name)
            for file, content in self.files.items():
                (folder / file).write_bytes(content)
            manifest = read_manifest(folder)
            verify(folder, manifest)
            resolved = ResolvedPair(self.reference, self.version, manifest, folder)
            return build(resolved).to(device)
