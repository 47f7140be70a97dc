"""Pairs in another pair's latent space: `isthmus.load("digits/5", compatible_with="digits/3")`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import ArrayLike, NDArray

from isthmus.bundle.compatibility import MapKind, read_map
from isthmus.core.alignment import LatentMap, unexplained_share
from isthmus.data.units import in_units_of
from isthmus.errors import RegistryError
from isthmus.registry.batches import OnRows
from isthmus.registry.device import Device
from isthmus.registry.held_out import fetch_held_out
from isthmus.registry.latents import Latents, values_to_decode
from isthmus.registry.loading import ResolvedPair, build, resolve
from isthmus.registry.pair import Pair
from isthmus.spec import Settings


@dataclass(frozen=True)
class Step:
    """One of the maps that lead from a pair's latents to another pair's.

    Attributes:
        source: The pair whose latents the map takes, such as `digits/5`.
        target: The pair whose latents the map returns.
        kind: The kind of map: the better one of those stored, on held-out rows.
        error: The fraction of the variance of the target's latents that the map left unexplained
            there.
    """

    source: str
    target: str
    kind: MapKind
    error: float


@dataclass(frozen=True, eq=False)
class Translation:
    """The map from a pair's latents to those of an older pair.

    Attributes:
        target: The name and version of the older pair, such as `digits/3`.
        target_id: The id of the older pair.
        latent_dim: The number of values in its latents.
        to_target: The map from the pair's latents to the target's.
        steps: The maps that `to_target` is composed of.
    """

    target: str
    target_id: str
    latent_dim: int
    to_target: LatentMap
    steps: tuple[Step, ...]


class CompatiblePair(Pair):
    """A pair that encodes to the latent space of an older pair, and decodes from it.

    Its latents carry the older pair's id, so the older pair's decoder accepts them, and they can be
    compared with embeddings that the older pair made. Everything else works as in the pair itself.
    """

    def __init__(self, pair: Pair, translation: Translation) -> None:
        """Creates a pair from one that does the work and a map of its latents.

        Args:
            pair: The pair whose encoder and decoder are used.
            translation: The mapping of its latents to those of the older pair, in whose latent
                space this one encodes and decodes.
        """
        super().__init__(pair.detector, pair.manifest, pair.reference, pair.code_tables)
        self.translation = translation
        self._back = translation.to_target.inverse()

    @property
    def latent_dim(self) -> int:
        """The number of values in a latent of the older pair, as `encode` returns it."""
        return self.translation.latent_dim

    @property
    def steps(self) -> tuple[Step, ...]:
        """The maps that lead from the pair's latents to the older pair's."""
        return self.translation.steps

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, as latents of {self.translation.target}>"

    def encode(
        self, x: ArrayLike, on_rows: OnRows | None = None, *, as_read: bool = False
    ) -> Latents:
        """Encodes rows to latents of the older pair, as precisely as the map allows."""
        own = super().encode(x, on_rows, as_read=as_read)
        values = self.translation.to_target.apply(own.values)
        return Latents(values, self.translation.target_id)

    def decode(self, latents: Latents, on_rows: OnRows | None = None) -> NDArray[Any]:
        """Decodes latents of the older pair, through the inverse of the map.

        Raises:
            RegistryError: If another pair made the latents, or the map has no inverse.
            DataError: If they are no `Latents`, or have another shape.
        """
        target, target_id = self.translation.target, self.translation.target_id
        takes = f"this one takes those of {target}, pair {target_id}"
        values = values_to_decode(latents, target_id, self.latent_dim, takes)
        if self._back is None:
            raise RegistryError(
                f"the map from {self.reference} to {target} has no inverse, so {self.reference} "
                f"cannot decode its latents; decode them with {target}"
            )
        own = Latents(self._back.apply(values), self.manifest.pair_id)
        return super().decode(own, on_rows)


def load_compatible(
    reference: str, target: str, settings: Settings, device: Device = "cpu"
) -> Pair:
    """Loads a pair that works with the latents of another pair, through the stored maps.

    A version stores maps to the champion at its registration. If no single map leads to the target,
    the maps of several versions are composed. Each step uses the map that was better on held-out
    rows.

    Args:
        reference: The pair to load, as in `load`.
        target: The pair whose latents are wanted.
        settings: The settings that say where the registry is.
        device: The device that the pair computes on.

    Returns:
        The pair; without a map if `reference` and `target` are the same pair.

    Raises:
        ModelNotFound: If there is no such pair.
        RegistryError: If no maps lead to the target, in which case the message says how far they
            lead, or if a pair is incomplete.
    """
    resolved, wanted = resolve(reference, settings), resolve(target, settings)
    pair = build(resolved).to(device)
    way: list[tuple[Step, LatentMap]] = []
    here, seen = resolved, {resolved.manifest.pair_id}
    while here.manifest.pair_id != wanted.manifest.pair_id:
        said = here.manifest.compatibility
        if said is None:
            raise _no_way(resolved, wanted, here)
        found = read_map(here.folder, said.best, said)
        way.append((Step(here.reference, said.champion, said.best, said.error), found))
        here = _resolve_same(said.champion, said.pair_id, wanted, settings)
        if here.manifest.pair_id in seen:
            raise RegistryError(
                f"the maps of {resolved.reference} lead in a circle, back to {here.reference}; "
                "pair.json was changed, so restore it, or train the pair again"
            )
        seen.add(here.manifest.pair_id)
    if not way:
        return pair
    whole = way[0][1]
    for _, found in way[1:]:
        whole = whole.then(found)
    steps = tuple(step for step, _ in way)
    latent_dim = wanted.manifest.plan.latent_dim
    return CompatiblePair(
        pair, Translation(wanted.reference, wanted.manifest.pair_id, latent_dim, whole, steps)
    )


def translation_error(pair: CompatiblePair, settings: Settings) -> float:
    """Returns the share of the variance of the target's latents that the maps leave unexplained.

    It was measured at registration for one map. For several, one after the other, it is measured
    on the stored sample of the pair's held-out rows.

    Returns:
        The share, from 0; NaN if no held-out rows are stored to measure several maps on.

    Raises:
        RegistryError: If the sample or the target cannot be loaded.
    """
    if len(pair.steps) == 1:
        return pair.steps[0].error
    sample = fetch_held_out(pair.manifest, settings)
    if sample is None:
        return float("nan")
    target = build(resolve(pair.translation.target, settings))
    units = pair.manifest.rows_taken, target.manifest.rows_taken
    own = Pair.encode(pair, sample.rows, as_read=True).values
    expected = target.encode(in_units_of(sample.rows, *units), as_read=True).values
    return unexplained_share(pair.translation.to_target, own, expected)


def _resolve_same(
    reference: str, pair_id: str, wanted: ResolvedPair, settings: Settings
) -> ResolvedPair:
    """Returns the pair that a map leads to: the target, or another pair on the way to it."""
    if pair_id == wanted.manifest.pair_id:
        return wanted
    found = resolve(reference, settings)
    if found.manifest.pair_id != pair_id:
        raise RegistryError(
            f"{reference} is pair {found.manifest.pair_id} now, and the stored map leads to pair "
            f"{pair_id}; its model was made anew, so encode again with the pair in use"
        )
    return replace(found, reference=reference)


def _no_way(start: ResolvedPair, wanted: ResolvedPair, end: ResolvedPair) -> RegistryError:
    if end is start:
        reach = f"{start.reference} has no map to any pair's latents"
    else:
        reach = f"the maps of {start.reference} lead to {end.reference} and no further"
    return RegistryError(
        f"no stored map leads from {start.reference} to {wanted.reference}: {reach}; encode the "
        f"rows again with {start.reference}, or go on with {wanted.reference}"
    )
