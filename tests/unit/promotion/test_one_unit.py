"""Versions are compared in one unit, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from isthmus import aliases, promotion, registry
from isthmus.bundle.held_out import squared_errors
from isthmus.data.prepared.splits import split_block
from isthmus.errors import DataError
from isthmus.promotion.heldout import find_held_out
from isthmus.promotion.measures import measure
from isthmus.promotion.seen import job_of
from isthmus.registry import fetch_held_out, load
from tests.challengers import GOOD_STEPS, register

PLAIN = {"labels": None, "keep_labels": None, "exclude": []}


def ignore(step: str) -> None:
    pass


def write_images(folder: Path, count: int = 1500) -> tuple[Path, Path]:
    """The same pictures of three dimensions, with 8 bits and with 16 bits a pixel."""
    generator = np.random.default_rng(1)
    made = generator.normal(size=(count, 3)) @ generator.normal(size=(3, 64))
    bright = np.rint(255 * (made - made.min()) / np.ptp(made)).reshape(count, 8, 8)
    np.save(folder / "8bit.npy", bright.astype(np.uint8))
    np.save(folder / "16bit.npy", (257 * bright).astype(np.uint16))
    return folder / "8bit.npy", folder / "16bit.npy"


@pytest.fixture(scope="module")
def depths(settings, tmp_path_factory) -> None:
    """`depth/1` is of 8 bits, and `depth/2` as good of 16 bits."""
    for file in write_images(tmp_path_factory.mktemp("depths")):
        register("depth", file, settings, GOOD_STEPS, data=PLAIN, latent_dim=3)


@pytest.mark.usefixtures("depths")
@pytest.mark.parametrize(("new", "old"), [(2, 1), (1, 2)], ids=["deeper", "flatter"])
def test_images_of_two_bit_depths_meet_on_rows_that_both_take_for_their_own(settings, new, old):
    pairs = [load(f"depth/{version}", settings) for version in (new, old)]
    met = find_held_out(*pairs, settings, ignore)
    assert len(met.rows) >= 10
    assert f"white is {pairs[0].manifest.rows_taken.white:g} to depth/{new}" in met.remark
    for pair in pairs:
        scale = pair.manifest.rows_taken.white / met.schema.white
        in_own = np.rint(met.rows * scale).astype(np.float32)
        found, made = measure(pair, met, None), pair.reconstruct(in_own, as_read=True)
        errors = squared_errors(made, in_own, met.own.scale * scale)
        np.testing.assert_allclose(found.errors, errors, rtol=1e-3)
        np.testing.assert_allclose(found.scores, pair.detect(in_own, as_read=True).scores)
        # Neither pair was trained on one of them, in its own depth.
        seed = job_of(pair).training.seed
        assert not len(split_block(in_own, pair.manifest.data, seed)["train"])
    assert promotion.judge("depth", new, old, settings).champion == f"depth/{old}"


def test_arrays_of_floats_and_of_whole_pixels_are_no_rivals(settings, tmp_path):
    eight, _ = write_images(tmp_path)
    np.save(tmp_path / "unit.npy", (np.load(eight) / 255).astype(np.float32))
    for file in (eight, tmp_path / "unit.npy"):
        register("range", file, settings, 1, data=PLAIN, latent_dim=3)
    pairs = [load(f"range/{version}", settings) for version in (1, 2)]
    with pytest.raises(DataError, match=r"range/1 has no pixel above 255 and range/2 1, so"):
        find_held_out(*pairs, settings, ignore)
    with pytest.raises(DataError, match=r"white none and no pixel above 1 and range/1 255, so"):
        find_held_out(*pairs[::-1], settings, ignore)


def test_sounds_of_two_rates_are_no_rivals(settings, tmp_path):
    generator = np.random.default_rng(0)
    for rate in (8000, 16000):
        folder = tmp_path / str(rate)
        folder.mkdir()
        for number in range(30):
            soundfile.write(folder / f"{number}.wav", generator.uniform(-0.5, 0.5, 160), rate)
        register("rates", folder, settings, 1, data={**PLAIN, "window": 16, "stride": 16})
    verdict = promotion.judge("rates", 2, 1, settings)
    assert verdict.outcome == "cannot be judged"
    assert "rates/2 has data.sample_rate_hz 16000 and rates/1 8000" in verdict.obstacle


def test_series_of_two_paces_are_no_rivals(settings, tmp_path):
    for pace in ("min", "s"):
        steps = pd.DataFrame({"a": np.sin(np.arange(2000) / 9), "b": np.cos(np.arange(2000) / 7)})
        steps.insert(0, "when", pd.date_range("2026-01-01", periods=2000, freq=pace))
        file = tmp_path / f"{pace}.csv"
        steps.to_csv(file, index=False)
        data = {**PLAIN, "time": "when", "window": 8, "stride": 8}
        register("paces", file, settings, 1, data=data, like_a_job=True)
        if pace == "min":
            aliases.promote("paces", 1, settings)
    verdict = promotion.judge("paces", 2, 1, settings)
    assert verdict.outcome == "cannot be judged"
    assert "paces/2 has seconds between steps 1 and paces/1 60" in verdict.obstacle
    # Nor do latents of the one stand for those of the other.
    assert load("paces/2", settings).manifest.compatibility is None


@pytest.mark.usefixtures("depths")
def test_latents_are_mapped_to_those_of_a_champion_of_another_bit_depth(settings):
    """The scaling of the challenger makes up for its white: both map a row to the same latent."""
    aliases.promote("depth", 1, settings)
    old, new = load("depth/1", settings), load("depth/1", settings)
    for part in (new.module.scaling.offset, new.module.scaling.scale):
        part.mul_(257)
    schema = load("depth/2", settings).manifest.rows_taken
    rows = 257 * fetch_held_out(old.manifest, settings).rows
    halves = rows[::2], rows[1::2]
    data = old.manifest.data
    found = registry.find_succession("depth", new.module, data, *halves, settings, schema=schema)
    assert found.alignment is not None
    assert found.alignment.errors["affine"] < 1e-6
