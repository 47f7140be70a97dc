"""Warm starts: the registered pair that a training starts from, and what is taken over from it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus import nets, variants
from isthmus.core import Autoencoder
from isthmus.data.prepared.scaling import ScalingStatistics
from isthmus.data.units import unlike_units
from isthmus.errors import Fault, ModelNotFound, SpecError
from isthmus.registry import Pair, load
from isthmus.spec import DataSpec, JobSpec, ModelPlan, PluginSpec, RowSchema, Settings, StartSpec

_logger = logging.getLogger(__name__)
_WHERE = "training.start_from"
_FRACTIONS = ("validation_fraction", "calibration_fraction", "test_fraction")
_SHOWN = 60


@dataclass(frozen=True)
class Start:
    """The pair that a training starts from.

    Attributes:
        pair: The pair, on the CPU.
    """

    pair: Pair

    @property
    def pair_id(self) -> str:
        """The id of the pair."""
        return self.pair.manifest.pair_id

    def weights_of(self, member: int) -> Mapping[str, Tensor] | None:
        """Returns what a member of the ensemble starts with: the weights of both halves, by name.

        A member starts from the pair's own member of the same number, so that members stay as
        different as they are; `None` if the pair has none of that number.
        """
        members = self.pair.detector.members
        return weights_of(members[member]) if member < len(members) else None

    def statistics(self, schema: RowSchema) -> ScalingStatistics:
        """Returns the scaling that the pair's weights were trained with.

        Args:
            schema: The schema of the new rows. Their centre, which is subtracted before they are
                scaled, may be another than that of the pair's rows.
        """
        scaling, row_axes = self.pair.module.scaling, len(schema.shape)
        # The module holds the statistics in the shape of a row; all pixels or steps have the same.
        first = (slice(None), *[slice(1)] * (row_axes - 1))
        offset = scaling.offset[first].numpy().astype(np.float64)
        apart = _centre(self.pair.manifest.rows_taken, offset) - _centre(schema, offset)
        return ScalingStatistics(
            offset=(offset + apart).astype(np.float32), scale=scaling.scale[first].numpy().copy()
        )

    def refuse_others(self, plan: ModelPlan, data: DataSpec, schema: RowSchema) -> None:
        """Refuses a job whose autoencoder is another than the pair's.

        Args:
            plan: The job's plan.
            data: The job's data section with every `auto` resolved.
            schema: The schema of the job's rows.

        Raises:
            SpecError: Naming the first thing that differs, with both values.
        """
        manifest = self.pair.manifest
        theirs, ours = (manifest.plan, manifest.data, manifest.rows_taken), (plan, data, schema)
        for (what, here), (_, there) in zip(_compared(*ours), _compared(*theirs), strict=True):
            if here != there:
                raise SpecError([Fault(_WHERE, self._differs(what, here, there))])
        self._refuse_other_units(schema)
        if not _fits(self.pair.module, plan):
            here, there = (dict(each.variant.options) for each in (plan, manifest.plan))
            options = [name for name in here if here[name] != there.get(name)]
            name = options[0] if options else "the number of weights"
            found = self._differs(f"variant.{name}", here.get(name), there.get(name))
            raise SpecError([Fault(_WHERE, found)])

    def warn_of_other_split(self, job: JobSpec, data: DataSpec) -> None:
        """Warns if rows that the pair has learned from may be held out now.

        Args:
            job: The job, with its seed.
            data: The job's data section with every `auto` resolved.
        """
        manifest = self.pair.manifest
        seed = manifest.spec.get("training", {}).get("seed", job.training.seed)
        differing = [("training.seed", job.training.seed, seed)] + [
            (f"data.{name}", getattr(data, name), getattr(manifest.data, name))
            for name in _FRACTIONS
        ]
        for name, here, there in differing:
            if here != there:
                _logger.warning(
                    "%s is %s, and %s was split with %s: rows that it has learned from may be held "
                    "out now, and look easier than they are; use the same value for the same rows",
                    *(name, here, self.pair.reference, there),
                )
                return

    def _refuse_other_units(self, schema: RowSchema) -> None:
        """Refuses rows for which the pair's scaling is meaningless, such as other white points."""
        for what, here, there in unlike_units(schema, self.pair.manifest.rows_taken):
            message = (
                f"{self.pair.reference} has {what} {_shown(there)}, and this job "
                f"{_shown(here)}: the pair's scaling and weights are for rows like its own; "
                f"convert the data, or leave {_WHERE} out"
            )
            raise SpecError([Fault(_WHERE, message)])

    def _differs(self, what: str, here: object, there: object) -> str:
        here, there = _from_the_difference(here, there)
        return (
            f"{self.pair.reference} has {what} {_shown(there)}, and this job {_shown(here)}: "
            f"weights fit the autoencoder that they were trained in; use the same, or leave "
            f"{_WHERE} out"
        )


def starting_pair(job: JobSpec, settings: Settings) -> tuple[JobSpec, Start | None]:
    """Finds the pair that a job's training starts from.

    Args:
        job: The job.
        settings: The settings that say where the registry is.

    Returns:
        The job, which names the pair's version instead of an alias, so that a run which is resumed
        knows where it began; and the pair, `None` if training starts from random weights.

    Raises:
        SpecError: If there is no such pair, and the job does not say what to do then.
        RegistryError: If the registry does not answer, or the pair is incomplete.
    """
    asked = job.training.start_from
    if asked is None:
        return job, None
    try:
        pair = load(asked.model, settings)
    except ModelNotFound as error:
        if asked.otherwise == "refuse":
            message = (
                f"{error}; to start from random weights until there is one, write start_from: "
                f"{{model: {asked.model}, otherwise: scratch}}"
            )
            raise SpecError([Fault(_WHERE, message)]) from error
        _logger.warning(
            "training starts from random weights, as %s.otherwise says: %s", *(_WHERE, error)
        )
        return _starting_from(job, None), None
    return _starting_from(job, StartSpec(model=pair.reference)), Start(pair)


def weights_of(module: Autoencoder) -> dict[str, Tensor]:
    """Returns what both registered halves of an autoencoder hold, by name."""
    return {
        name: tensor
        for name, tensor in module.state_dict().items()
        if name.partition(".")[0] not in module.TRAINING_PARTS
    }


def _starting_from(job: JobSpec, start: StartSpec | None) -> JobSpec:
    training = job.training.model_copy(update={"start_from": start})
    return job.model_copy(update={"training": training})


def _compared(plan: ModelPlan, data: DataSpec, schema: RowSchema) -> Iterator[tuple[str, object]]:
    """Yields what must be the same of an autoencoder and its rows, by the name of its field."""
    yield "variant", plan.variant.name
    yield "net", plan.net.name
    yield "data.kind", str(plan.kind)
    yield "features", schema.features
    yield "rows of shape", tuple(plan.row_shape)
    yield "latent_dim", plan.latent_dim
    for name, value in sorted(_options(plan.net).items()):
        yield f"net.{name}", value
    yield "reconstruction", str(plan.reconstruction)
    yield "data.scaling", str(data.scaling)


def _options(net: PluginSpec) -> dict[str, Any]:
    """Returns all options of a net, also those that it has had only since a pair was trained."""
    return nets.config(net.name).model_validate(dict(net.options)).model_dump(mode="json")


def _fits(module: Autoencoder, plan: ModelPlan) -> bool:
    """Returns whether weights have the names and shapes of those of a plan."""
    with torch.random.fork_rng(devices=[]):
        wanted = weights_of(variants.build(plan))
    given = weights_of(module)
    return {name: each.shape for name, each in given.items()} == {
        name: each.shape for name, each in wanted.items()
    }


def _centre(schema: RowSchema, like: NDArray[np.float64]) -> NDArray[np.float64]:
    if schema.centre is None:
        return np.zeros_like(like)
    return np.reshape(np.asarray(schema.centre, np.float64), (-1, *[1] * (like.ndim - 1)))


def _from_the_difference(here: object, there: object) -> tuple[object, object]:
    """Returns long lists from where they differ, which would otherwise not be shown."""
    if not isinstance(here, tuple | list) or not isinstance(there, tuple | list):
        return here, there
    if max(len(", ".join(map(str, each))) for each in (here, there)) <= _SHOWN:
        return here, there
    shared = next(
        (at for at, (one, other) in enumerate(zip(here, there, strict=False)) if one != other),
        min(len(here), len(there)),
    )
    # The last that both have says where the lists part, also where one ends there.
    first = max(0, shared - 1)
    dots = ("...",) if first else ()
    return (*dots, *here[first:]), (*dots, *there[first:])


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    shown = ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
