"""Explains why a row is strange: finds the values that the reconstruction misses unusually far."""

from isthmus.explanations.columns import columns_of
from isthmus.explanations.contributions import Contributions, Explained
from isthmus.explanations.features import Responsible, TableFeatures, most_responsible
from isthmus.explanations.heatmaps import check_heatmaps, has_heatmaps, write_heatmaps
from isthmus.explanations.pictures import contribution_png, image_png, spectrogram_png
from isthmus.explanations.strangest import StrangeRows, Strangest

__all__ = [
    "Contributions",
    "Explained",
    "Responsible",
    "StrangeRows",
    "Strangest",
    "TableFeatures",
    "check_heatmaps",
    "columns_of",
    "contribution_png",
    "has_heatmaps",
    "image_png",
    "most_responsible",
    "spectrogram_png",
    "write_heatmaps",
]
