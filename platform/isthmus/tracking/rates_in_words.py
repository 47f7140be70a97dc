"""Tells in words how many bits compressed rows take: on the terminal, a run's page and a card."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from isthmus.kinds import facts_of
from isthmus.spec import ModelPlan


def rates_in_words(metrics: Mapping[str, float], plan: ModelPlan) -> str:
    """Returns the bits that held-out rows take, in one line.

    Args:
        metrics: The metrics of the run, whose names begin with `test_`.
        plan: The plan of the pair.

    Returns:
        The line; empty for a pair whose latent is no whole numbers.
    """
    bits = metrics.get("test/bits_per_row")
    if bits is None:
        return ""
    places = prod(plan.row_shape[1:])
    said = f"held-out rows compressed to {bits / places:.3g} bits per {facts_of(plan.kind).place}"
    if "test/psnr_db" in metrics:
        said += f", with {metrics['test/psnr_db']:.2f} dB"
    ends = [metrics.get(f"test/{end}_bits_per_row") for end in ("lowest", "highest")]
    if ends[0] is not None and ends[1] is not None:
        low, high = (end / places for end in ends if end is not None)
        said += f", at the usual quality; {low:.3g} to {high:.3g} from quality 0 to 100"
    return said
