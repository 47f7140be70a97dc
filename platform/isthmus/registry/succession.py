"""The relation of a new pair to the champion at its registration. Importing it loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.bundle.compatibility import Alignment
from isthmus.bundle.manifest import PairManifest


@dataclass(frozen=True)
class Succession:
    """The relation of a new pair to the champion with the same name.

    Attributes:
        champion: The champion's name and version, such as `digits/3`; `None` if there is none or it
            cannot be loaded.
        manifest: The champion's manifest.
        alignment: The maps from the new latents to the champion's; `None` if there are none.
        why_not: The reason why there are none, as a sentence without its full stop.
    """

    champion: str | None = None
    manifest: PairManifest | None = None
    alignment: Alignment | None = None
    why_not: str = "nobody looked for a champion"


NO_SUCCESSION = Succession()
