"""Half the digits in a step, and the same learned."""

from __future__ import annotations

import pytest

from isthmus import variants
from tests.unit.training.fitting import job_of, trained

# A codebook, and nothing beside the layers; the others in the whole run.
FAST = ("plain", "vqvae")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAST else (pytest.mark.slow,))
        for name in variants.names()
    ],
)
def test_each_variant_learns_in_bfloat16_what_it_learns_in_float32(name, tmp_path):
    half, full = (
        trained(tmp_path / precision, *job_of(name), precision=precision, epochs=2)
        for precision in ("bfloat16", "float32")
    )
    assert half == pytest.approx(full, rel=0.05)
    assert half != full


def test_without_a_gpu_a_step_keeps_all_its_digits(tmp_path):
    asked, by_default = (
        trained(tmp_path / str(len(more)), *job_of("plain"), device="cpu", epochs=2, **more)
        for more in ({"precision": "float32"}, {})
    )
    assert asked == by_default
