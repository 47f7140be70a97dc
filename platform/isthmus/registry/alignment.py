"""Finds the champion at a new pair's registration, and maps the new latents to the champion's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import prod
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.bundle.compatibility import Alignment
from isthmus.core import Autoencoder
from isthmus.core.alignment import fit_affine, fit_procrustes, unexplained_share
from isthmus.data.units import in_units_of, unlike_units
from isthmus.errors import ModelNotFound
from isthmus.registry.loading import load
from isthmus.registry.pair import Pair
from isthmus.registry.reference import CHAMPION
from isthmus.registry.succession import Succession
from isthmus.spec import DataSpec, RowSchema, Settings
from isthmus.types import Shape

_logger = logging.getLogger(__name__)

# More rows would not change the maps noticeably, and would take longer than they are worth.
_MOST_ROWS = 20_000
_MOST_NUMBERS = 4_000_000
# A map has as many values as the product of both latent sizes. Latents larger than this are more
# like images than embeddings.
_LARGEST_LATENT = 1024
_BATCH_ROWS = 1024
# The largest number of values that are read in all, and that are encoded at once (16 MiB).
# Otherwise 20,000 images of 224 x 224 x 3 would be 12 GB.
_MOST_NUMBERS_READ = 200_000_000
_NUMBERS_IN_A_BATCH = 4_000_000
_FEWEST_ROWS = 64


class HeldOutRows(Protocol):
    """Rows in memory or in a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]: ...


def find_succession(
    name: str,
    module: Autoencoder,
    data: DataSpec,
    fit_rows: HeldOutRows,
    test_rows: HeldOutRows,
    settings: Settings,
    *,
    schema: RowSchema | None = None,
) -> Succession:
    """Finds the champion of a name, and fits maps from a new module's latents to the champion's.

    If the champion is missing, damaged or takes other rows, the result says so and nothing is
    raised, because it is not the new pair's fault.

    Args:
        name: The pair's name.
        module: The newly trained module.
        data: The data options that its rows are read with.
        fit_rows: Held-out rows that the maps are fitted to, data units less the centre.
        test_rows: Other held-out rows, on which the errors of the maps are measured.
        settings: The settings that say where the registry is.
        schema: The schema of the rows; the champion may have another centre and, for images,
            another white.
    """
    try:
        champion = load(f"{name}@{CHAMPION}", settings)
    except ModelNotFound:
        return Succession(why_not="there was no champion when it was registered")
    except Exception as error:  # noqa: BLE001 (another pair's fault must not lose this training)
        _logger.warning("latents are not mapped to those of %s@%s: %s", name, CHAMPION, error)
        return Succession(why_not="the champion of that moment could not be loaded")
    schema = schema or RowSchema(kind=module.plan.kind, shape=module.plan.row_shape)
    alignment, why_not = None, _difference(champion, module, data, schema)
    if why_not is None:
        try:
            alignment = _align(module, champion, fit_rows, test_rows, schema)
        # torch raises these for the champion's tensors, numpy for their values, and files on
        # reading.
        except (RuntimeError, ValueError, TypeError, LookupError, OSError, MemoryError) as error:
            why_not = " ".join(str(error).split())[:200] or type(error).__name__
        else:
            why_not = "the latents of one of the two do not vary, or are not finite"
    if alignment is None:
        _logger.warning("latents are not mapped to those of %s: %s", champion.reference, why_not)
    return Succession(champion.reference, champion.manifest, alignment, why_not)


def _difference(
    champion: Pair, module: Autoencoder, data: DataSpec, schema: RowSchema
) -> str | None:
    """Returns why the latents of the two cannot be mapped, or `None` if they can."""
    old, new = champion.manifest.plan, module.plan
    if old.row_shape != new.row_shape or old.kind != new.kind:
        return f"it takes {old.kind} rows of shape {old.row_shape}, not {new.row_shape}"
    if champion.manifest.data.feature_names != data.feature_names:
        return "it takes other columns"
    for what, here, there in unlike_units(schema, champion.manifest.rows_taken, scales_white=True):
        return f"it has {what} {there}, not {here}"
    largest = max(old.latent_dim, new.latent_dim)
    if largest > _LARGEST_LATENT:
        return f"latents of {largest:,} numbers are more than the {_LARGEST_LATENT:,} of a map"
    return None


def _align(
    module: Autoencoder,
    champion: Pair,
    fit_rows: HeldOutRows,
    test_rows: HeldOutRows,
    schema: RowSchema,
) -> Alignment | None:
    """Fits both kinds of maps on `fit_rows`, and measures their errors on `test_rows`."""
    latent_dims = (module.plan.latent_dim, champion.module.plan.latent_dim)
    most = _most_rows(module.plan.row_shape, max(latent_dims))
    fit, test = (
        (
            _encode(module, rows, most),
            _encode(
                champion.module,
                rows,
                most,
                lambda part: in_units_of(part, schema, champion.manifest.rows_taken),
            ),
        )
        for rows in (fit_rows, test_rows)
    )
    if not all(np.isfinite(each).all() and np.ptp(each, axis=0).any() for each in (*fit, *test)):
        return None
    procrustes, scale = fit_procrustes(*fit)
    affine = fit_affine(*fit)
    return Alignment(
        champion=champion.reference,
        pair_id=champion.manifest.pair_id,
        maps={"procrustes": procrustes, "affine": affine},
        errors={
            "procrustes": unexplained_share(procrustes, *test),
            "affine": unexplained_share(affine, *test),
        },
        scale=scale,
        rows=len(test[0]),
    )


def _most_rows(row_shape: Shape, latent_dim: int) -> int:
    """Returns how many rows to fit to: fewer if they are large, as each is read and encoded."""
    fits = min(_MOST_NUMBERS // latent_dim, _MOST_NUMBERS_READ // prod(row_shape))
    return min(_MOST_ROWS, max(_FEWEST_ROWS, fits))


def _encode(
    module: Autoencoder,
    rows: HeldOutRows,
    most: int,
    prepare: Callable[[NDArray[np.float32]], NDArray[np.float32]] = np.ascontiguousarray,
) -> NDArray[np.float32]:
    """Returns the latents of at most `most` evenly spaced rows, shape (N, latent_dim)."""
    every = max(1, -(-len(rows) // most))
    batch = max(1, min(_BATCH_ROWS, _NUMBERS_IN_A_BATCH // prod(module.plan.row_shape)))
    with torch.inference_mode():
        parts = [
            module.encode(torch.from_numpy(np.ascontiguousarray(prepare(part)))).numpy()
            for first in range(0, len(rows), batch * every)
            for part in [rows[first : first + batch * every : every]]
        ]
    return np.concatenate(parts)
