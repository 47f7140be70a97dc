"""Patches are cut anew in each epoch, shared among workers, and the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from isthmus.data import ScalingStatistics, TrainingPatches
from isthmus.data.patches import WholeImages
from isthmus.loaders.patch_batches import PatchBatches
from isthmus.loaders.scaled_rows import ScaledRows

CPU = torch.device("cpu")
PATCH, COUNT = 8, 103


def made(
    rank: int = 0,
    workers: int = 1,
    epoch: int = 0,
    *,
    views: int = 1,
    dtype: Any = np.uint8,
    **fields: Any,
) -> PatchBatches:
    sizes = np.array([(20, 30), (9, 8), (40, 12)])
    count = int(sizes.prod(axis=1).sum())
    first = (np.arange(count) * 7 % 251).astype(dtype)
    images = [WholeImages(1, sizes, first + view) for view in range(views)]
    statistics = ScalingStatistics(
        np.full((1, 1, 1), 3, np.float32), np.full((1, 1, 1), 2, np.float32)
    )
    patches = TrainingPatches(
        tuple(images), np.arange(3), PATCH, COUNT, statistics=statistics, **fields
    )
    return PatchBatches(
        rows=patches,
        device=CPU,
        global_batch_size=12 * workers,
        rank=rank,
        workers=workers,
        seed=0,
        epoch=epoch,
    )


def joined(batches: PatchBatches) -> torch.Tensor:
    return torch.cat(list(batches))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_share_the_patches_of_an_epoch(workers: int) -> None:
    found = [list(made(rank, workers)) for rank in range(workers)]
    assert len({tuple(len(step) for step in share) for share in found}) == 1
    together = torch.cat([step for share in found for step in share])
    assert len(together) == COUNT - COUNT % workers
    alone = joined(made())[: len(together)]
    # The same patches as one worker cuts, in another order.
    assert sorted(together.flatten(1).tolist()) == sorted(alone.flatten(1).tolist())


def test_each_epoch_has_other_patches_and_the_same_epoch_the_same() -> None:
    first, again, later = joined(made()), joined(made()), joined(made(epoch=1))
    assert first.shape == (COUNT, 1, PATCH, PATCH)
    assert torch.equal(first, again)
    assert not (set(map(str, first.tolist())) >= set(map(str, later.tolist())))


def test_a_pass_that_is_resumed_goes_on_with_the_patches_that_were_to_come() -> None:
    for rank in range(2):
        whole = list(made(rank, 2))
        for taken in range(len(whole)):
            interrupted, resumed = made(rank, 2), made(rank, 2)
            passing = iter(interrupted)
            for _ in range(taken):
                next(passing)
            resumed.load_state_dict(interrupted.state_dict())
            rest = list(resumed)
            assert len(rest) == len(whole) - taken
            assert all(torch.equal(a, b) for a, b in zip(rest, whole[taken:], strict=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_patches_are_scaled_as_all_rows_are(dtype: Any) -> None:
    batches = made(dtype=dtype)
    patches = batches.rows
    assert patches.statistics is not None
    found = joined(batches)
    assert found.dtype == torch.float32
    unscaled = found.numpy() * 2 + 3
    np.testing.assert_array_equal(unscaled, unscaled.round())
    assert unscaled.min() >= 0
    assert unscaled.max() <= 250
    sample = patches.sample()
    np.testing.assert_array_equal(patches.statistics.scaled(sample * 2 + 3), sample)


def test_missing_values_become_the_mean() -> None:
    batches = made(dtype=np.float32)
    batches.rows.views[0].pixels[::5] = np.nan
    found = joined(batches)
    assert torch.isfinite(found).all()
    assert (found == 0).float().mean() > 0.15


def test_both_views_are_cut_at_the_same_place_and_in_the_same_way() -> None:
    found = joined(made(views=2, augment=("flip", "turn")))
    assert found.shape == (COUNT, 2, 1, PATCH, PATCH)
    assert torch.equal(found[:, 1], found[:, 0] + 0.5)


def test_images_travel_whole_to_workers_on_other_machines() -> None:
    batches = made()
    ones = np.ones((1, 1, 1), np.float32)
    held_out = np.zeros((1, 1, PATCH, PATCH), np.float32)
    rows = ScaledRows(train=batches.rows, validation=held_out, offset=0 * ones, scale=ones)
    sent = rows.in_memory().train
    assert isinstance(sent, TrainingPatches)
    np.testing.assert_array_equal(sent.views[0].pixels, batches.rows.views[0].pixels)
