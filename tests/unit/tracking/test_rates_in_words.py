"""What compressed rows take is told in the unit of their kind."""

from __future__ import annotations

from isthmus.spec import ModelPlan, PluginSpec
from isthmus.tracking.rates_in_words import rates_in_words
from isthmus.types import DataKind, ReconstructionLoss, Shape


def plan(kind: DataKind, row_shape: Shape) -> ModelPlan:
    return ModelPlan(
        kind=kind,
        row_shape=row_shape,
        latent_dim=4,
        variant=PluginSpec(name="fsq"),
        net=PluginSpec(name="dense"),
        reconstruction=ReconstructionLoss.MSE,
    )


def test_the_rates_of_images_are_bits_per_pixel_with_their_quality():
    metrics = {
        **{"test/bits_per_row": 512.0, "test/psnr_db": 31.234},
        **{"test/lowest_bits_per_row": 128.0, "test/highest_bits_per_row": 1024.0},
    }
    assert rates_in_words(metrics, plan(DataKind.IMAGES, (3, 16, 32))) == (
        "held-out rows compressed to 1 bits per pixel, with 31.23 dB, at the usual quality; "
        "0.25 to 2 from quality 0 to 100"
    )


def test_a_table_has_bits_per_row_and_another_variant_has_nothing():
    said = rates_in_words({"test/bits_per_row": 41.5}, plan(DataKind.TABULAR, (7,)))
    assert said == "held-out rows compressed to 41.5 bits per row"
    assert rates_in_words({"test/mse": 1.0}, plan(DataKind.TABULAR, (7,))) == ""
