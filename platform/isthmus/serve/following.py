"""Follows a reference in the registry: loads the pair that it names, and the next once it changes.

A pair is used only once it is whole and verified. While the registry does not answer, or the next
pair cannot be loaded, the last one goes on. What was verified last is noted in the cache of this
machine, so that a process that starts while the registry is away goes on with that.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from isthmus.bundle.manifest import read_manifest
from isthmus.bundle.verification import verify
from isthmus.errors import IsthmusError, RegistryError, UsageError
from isthmus.registry import Device, Pair, Reference, ResolvedPair, build, named_now, resolve
from isthmus.spec import Settings

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """The state of a service that follows a reference, such as an alias.

    Attributes:
        model: The pair that answers, `digits/3`.
        pair_id: The id.
        follows: The reference that is followed, `digits@champion`.
        trouble: The reason why the pair that answers may not be the latest; empty if it is.
        since: Since when there is this trouble, ISO 8601; empty if there is none.
    """

    model: str
    pair_id: str
    follows: str
    trouble: str = ""
    since: str = ""


class Follower:
    """Keeps the pair that a reference names."""

    def __init__(
        self,
        reference: str,
        settings: Settings,
        device: Device,
        prepare: Callable[[Pair], None] = lambda pair: None,
    ) -> None:
        """Loads the pair that the reference names now.

        Args:
            reference: `NAME@ALIAS`, `NAME/VERSION`, or `NAME` for its champion.
            settings: The settings that say where the registry and the cache are.
            device: The device that pairs compute on.
            prepare: Is called with each pair before it is used.

        Raises:
            IsthmusError: If it cannot be loaded, and no pair is noted from before.
        """
        self._reference = Reference.parse(reference)
        self._settings = settings
        self._device: Device = device
        self._prepare = prepare
        self._ended = threading.Event()
        self._trouble = ("", "")
        self._pair = self._first()

    @property
    def pair(self) -> Pair:
        """The pair that answers now."""
        return self._pair

    @property
    def standing(self) -> Standing:
        """The pair that answers now, the reference that is followed, and any trouble with it."""
        pair, (trouble, since) = self._pair, self._trouble
        identity = (pair.reference, pair.manifest.pair_id, str(self._reference))
        return Standing(*identity, trouble, since)

    def follow(self, every_s: float) -> None:
        """Starts to look up the reference again and again, in a thread; a version never changes."""
        if self._reference.version is None or self._trouble[0]:
            threading.Thread(
                target=self._follow, args=(every_s,), name="isthmus-follow", daemon=True
            ).start()

    def end(self) -> None:
        """Ends the following."""
        self._ended.set()

    def look(self) -> None:
        """Looks up the reference once, and loads the pair that it names if that is another."""
        try:
            named = named_now(str(self._reference), self._settings)
            if named != self._pair.reference:
                self._pair = self._loaded(resolve(str(self._reference), self._settings))
                _logger.info("%s is now %s", self._reference, self._pair.reference)
            self._trouble = ("", "")
        except IsthmusError as error:
            self._say(str(error))
        except Exception as error:
            _logger.warning("unexpected", exc_info=error)
            self._say(f"{type(error).__name__}: {error}")

    def _follow(self, every_s: float) -> None:
        while not self._ended.wait(every_s):
            self.look()

    def _say(self, trouble: str) -> None:
        if not self._trouble[0]:
            _logger.warning("%s goes on: %s", self._pair.reference, trouble)
            self._trouble = (trouble, datetime.now(UTC).isoformat(timespec="seconds"))

    def _first(self) -> Pair:
        try:
            return self._loaded(resolve(str(self._reference), self._settings))
        except UsageError:
            raise  # there is no such pair, or no such device
        except RegistryError as error:
            noted = self._noted()
            if noted is None:
                raise
            self._trouble = (str(error), datetime.now(UTC).isoformat(timespec="seconds"))
            return self._built(noted)

    def _loaded(self, resolved: ResolvedPair) -> Pair:
        pair = self._built(resolved)
        self._note(resolved)
        return pair

    def _built(self, resolved: ResolvedPair) -> Pair:
        pair = build(resolved).to(self._device)
        self._prepare(pair)
        return pair

    @property
    def _note_file(self) -> Path:
        return self._settings.cache / "served" / f"{self._reference}.json".replace("/", "-")

    def _note(self, resolved: ResolvedPair) -> None:
        """Notes the pair as the last that was verified; what cannot be noted is not remembered."""
        content = {
            "reference": resolved.reference,
            "version": resolved.version,
            "folder": resolved.folder.name,
        }
        temporary = self._note_file.with_suffix(f".{os.getpid()}")
        try:
            self._note_file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(self._note_file)
        except OSError as error:
            _logger.warning("%s cannot be noted: %s", resolved.reference, error)

    def _noted(self) -> ResolvedPair | None:
        """Returns the pair that was verified last, verified once more; `None` if there is none."""
        try:
            said = json.loads(self._note_file.read_text(encoding="utf-8"))
            folder = self._settings.cache / "pairs" / str(said["folder"])
            manifest = read_manifest(folder)
            verify(folder, manifest)
            reference, version = str(said["reference"]), int(said["version"])
            trusts = self._settings.trust_plugins
            return ResolvedPair(reference, version, manifest, folder, trusts)
        except (OSError, ValueError, KeyError, TypeError, RegistryError):
            return None
