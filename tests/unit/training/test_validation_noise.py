"""The best epoch of a denoiser is chosen by what it learned, not by the luck of the noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.types import DataKind
from tests.unit.training.fitting import fitted

NOISES: dict[str, dict[str, Any]] = {
    "a range": {},
    "one level": {"level": 0.3},
    "a camera's": {"corruption": "poisson_gaussian"},
    "jpeg": {"corruption": "jpeg"},
}


@pytest.mark.parametrize("training", [{}, {"trainer": {"log_every_n_steps": 1}}], ids=["", "steps"])
@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
def test_held_out_rows_have_the_same_noise_in_each_epoch(
    noise: dict[str, Any], training: dict[str, Any], tmp_path: Path
) -> None:
    job = {"variant": {"name": "denoising", **noise}, "net": {"name": "dense", "hidden": [16]}}
    # Nothing is learned, so that what differs between epochs is the noise.
    training = {"learning_rate": 1e-12, "epochs": 3, **training}
    history = fitted(tmp_path, DataKind.IMAGES, job, **training).progress.history
    held_out, trained = zip(
        *((each.validation["loss"], each.train["loss"]) for each in history), strict=True
    )
    assert held_out == pytest.approx([held_out[0]] * 3, rel=1e-6)
    assert len({round(loss, 6) for loss in trained}) == 3
