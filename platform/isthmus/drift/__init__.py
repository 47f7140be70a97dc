"""Whether the rows of an input are like those that a pair was trained on: two-sample tests."""

from isthmus.drift.sample import RowSample
from isthmus.drift.statistics import FeatureDrift, LatentDrift, compare_features, compare_latents
from isthmus.drift.summaries import Summaries, summaries_of
from isthmus.drift.watch import DriftReport, DriftWatch, compare_with_held_out

__all__ = [
    "DriftReport",
    "DriftWatch",
    "FeatureDrift",
    "LatentDrift",
    "RowSample",
    "Summaries",
    "compare_features",
    "compare_latents",
    "compare_with_held_out",
    "summaries_of",
]
