"""A pair that travels by value, so that a process without the registry loads the very same."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus.bundle.manifest import read_manifest
from isthmus.bundle.verification import verify
from isthmus.registry.device import Device
from isthmus.registry.loading import ResolvedPair, build
from isthmus.registry.pair import Pair
from isthmus.registry.translation import CompatiblePair, Translation


@dataclass(frozen=True)
class CarriedPair:
    """The files of a resolved pair.

    Attributes:
        reference: The pair's name and version, such as `digits/3`.
        version: The version.
        files: The content of each file, by its name.
        translation: The mapping of its latents to those of an older pair, if there is one.
    """

    reference: str
    version: int
    files: Mapping[str, bytes]
    translation: Translation | None = None

    @classmethod
    def of(cls, resolved: ResolvedPair, pair: Pair) -> CarriedPair:
        """Reads the files of a pair.

        Args:
            resolved: The pair's files.
            pair: The pair that was made of them, which may work in an older pair's latent space.
        """
        found = (each for each in resolved.folder.iterdir() if each.is_file())
        files = {each.name: each.read_bytes() for each in found}
        translation = pair.translation if isinstance(pair, CompatiblePair) else None
        return cls(resolved.reference, resolved.version, files, translation)

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
            # Whoever sends the pair has built it, so its code was installed or trusted there.
            resolved = ResolvedPair(
                self.reference, self.version, manifest, folder, trusts_plugins=True
            )
            pair = build(resolved)
        if self.translation is not None:
            pair = CompatiblePair(pair, self.translation)
        return pair.to(device)
