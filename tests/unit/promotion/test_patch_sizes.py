"""Denoisers that were trained on patches of different sizes are compared on the larger patches."""

from __future__ import annotations

import numpy as np
import pytest

import isthmus
from isthmus import promotion
from isthmus.promotion.heldout import find_held_out
from isthmus.registry import fetch_held_out, load
from isthmus.spec import Settings

SMALL, LARGE = 12, 20


def train(patch: int, settings: Settings, **data: object) -> None:
    job = {
        "name": "photos",
        "data": {
            "path": "photos.npy",
            "kind": "images",
            "patch": patch,
            "patches_per_epoch": 256,
            **data,
        },
        "variant": {"name": "denoising", "level": 0.2},
        "net": {"name": "unet", "channels": [4, 4], "skip_channels": 2},
        "training": {"epochs": 8, "learning_rate": 0.01, "ensemble": 1},
    }
    isthmus.train(job, settings=settings)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Has `photos/1` of small patches, `photos/2` of large ones, `photos/3` without a sample."""
    home = tmp_path_factory.mktemp("patches")
    found = Settings.from_environment({}, home)
    y, x = np.mgrid[:44, :44]
    shades = [128 + 80 * np.sin(x / 4 + n) * np.cos(y / (3 + n % 4)) for n in range(60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        np.save("photos.npy", np.array(shades).astype(np.uint8))
        train(SMALL, found)
        train(LARGE, found)
        train(LARGE, found, keep_held_out=False)
    return found


@pytest.mark.parametrize(("challenger", "champion"), [(1, 2), (2, 1)], ids=["smaller", "larger"])
def test_the_gate_compares_pairs_of_two_patch_sizes_on_the_larger(settings, challenger, champion):
    verdict = promotion.judge("photos", challenger, champion, settings)
    assert verdict.outcome != "cannot be judged", verdict.reason
    assert f"patches of {LARGE}x{LARGE}" in verdict.remark
    checks = {check.check: check for check in verdict.checks}
    assert {"denoising", "noise_removed", "latency", "reconstruction_error"} <= set(checks)
    assert np.isfinite(checks["denoising"].beside)
    assert checks["denoising"].beside != checks["denoising"].value
    new, old = (load(f"photos/{number}", settings) for number in (challenger, champion))
    met = find_held_out(new, old, settings, lambda step: None)
    assert met.rows.shape[1:] == (1, LARGE, LARGE)
    assert len(met.rows) == verdict.rows >= 10
    larger = fetch_held_out(load("photos/2", settings).manifest, settings)
    held_out = {row.tobytes() for row in larger.rows}
    assert {row.tobytes() for row in met.rows} <= held_out


def test_a_champion_of_larger_patches_without_a_sample_is_met_on_the_smaller(settings, monkeypatch):
    monkeypatch.chdir(settings.home)
    verdict = promotion.judge("photos", 1, 3, settings)
    assert verdict.outcome != "cannot be judged", verdict.reason
    assert f"patches of {SMALL}x{SMALL}" in verdict.remark
    assert "denoising" in {check.check for check in verdict.checks}
    assert "false_positives" not in {check.check for check in verdict.checks}
