"""Makes the integer tables of a pair that compresses, from the symbols of its training rows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch

from isthmus.core import Autoencoder, CodedAutoencoder, IntTable
from isthmus.data.prepared.stored import rows_at
from isthmus.jobs.evaluation import rows_at_once
from isthmus.jobs.preparation import Prepared

# Tables rest on the symbols of at most so many rows, with so many values in all.
_MOST_ROWS = 50_000
_MOST_NUMBERS = 50_000_000


def make_code_tables(prepared: Prepared, module: Autoencoder) -> tuple[IntTable, ...]:
    """Returns the tables of all streams; none if the variant's latent is no whole numbers.

    Args:
        prepared: The prepared job.
        module: The trained autoencoder, in evaluation mode, on the CPU.
    """
    if not isinstance(module, CodedAutoencoder):
        return ()
    if not module.TABLES_FROM_ROWS:
        with torch.inference_mode():
            return tuple(module.code_tables([]))
    rows, plan = prepared.first_view, prepared.plan
    most = max(1, min(_MOST_ROWS, _MOST_NUMBERS // max(prod(plan.row_shape), plan.latent_dim)))
    among = np.arange(len(rows))
    if len(rows) > most:
        generator = np.random.default_rng(prepared.spec.training.seed)
        among = np.sort(generator.choice(len(rows), most, replace=False))
    at_once = rows_at_once(plan)
    found: list[Sequence[torch.Tensor]] = []
    with torch.inference_mode():
        for first in range(0, len(among), at_once):
            scaled = torch.from_numpy(rows_at(rows, among[first : first + at_once]))
            found.append(module.symbols(module.scaling.inverse(scaled)))
    return tuple(module.code_tables([torch.cat(each) for each in zip(*found, strict=True)]))
