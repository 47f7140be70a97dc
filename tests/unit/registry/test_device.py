"""A loaded pair computes on a GPU if there is one, and gives what it gives on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import isthmus
from isthmus.errors import UsageError
from isthmus.registry import chosen_device

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
ROWS = np.random.default_rng(0).normal(size=(40_000, 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("wanted", "has_gpu", "expected"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cpu", True, "cpu"),
        ("gpu", True, "cuda"),
    ],
)
def test_a_gpu_is_chosen_if_there_is_one_and_the_cpu_was_not_asked_for(
    wanted, has_gpu, expected, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert chosen_device(wanted).type == expected


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu", "device gpu needs a GPU, and this machine has none that torch can use; choose"),
        ("tpu", 'no device "tpu"; choose one of auto, cpu, gpu'),
    ],
)
@pytest.mark.parametrize("command", ["detect", "denoise"])
def test_a_device_that_is_not_there_is_refused_in_one_line(
    command, device, said, isthmus, here, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    np.save("rows.npy", ROWS)
    found = isthmus(command, "--model", "any", "rows.npy", "o.npz", "--device", device)
    assert found.code == 2
    assert said in found.err
    assert len(found.err.strip().splitlines()) == 1


def test_a_pair_is_loaded_onto_the_device_that_is_asked_for(register, settings, monkeypatch):
    reference = f"on-device/{register('on-device').version}"
    assert isthmus.load(reference, device="cpu", settings=settings).device.type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert isthmus.load(reference, settings=settings).device.type == "cpu"
    with pytest.raises(UsageError, match="needs a GPU"):
        isthmus.load(reference, device="gpu", settings=settings)


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_gives_what_the_cpu_gives(register, settings):
    reference = f"on-gpu/{register('on-gpu').version}"
    here, there = (
        isthmus.load(reference, device=device, settings=settings) for device in ("cpu", "gpu")
    )
    assert there.device.type == "cuda"
    expected, found = here.detect(ROWS), there.detect(ROWS)
    assert found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)
    np.testing.assert_allclose(found.p_values, expected.p_values, atol=2 / 1001)
    np.testing.assert_allclose(there.denoise(ROWS), here.denoise(ROWS), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        there.encode(ROWS).values, here.encode(ROWS).values, rtol=1e-4, atol=1e-5
    )
