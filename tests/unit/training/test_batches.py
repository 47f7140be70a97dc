"""Every row once an epoch, shared evenly, in an order that seed and epoch determine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isthmus.data import ScalingStatistics, StoredRows
from isthmus.training import batches as batches_module
from isthmus.training.batches import Batches, ResidentBatches, StoredBatches, mix_seed
from isthmus.training.validation import ValidationBatches

CPU = torch.device("cpu")


def shares(rows: int, batch: int, workers: int, epoch: int = 0) -> list[Batches]:
    """Each worker's batches."""
    values = torch.arange(rows).float()[:, None]
    return [
        ResidentBatches(
            rows=values,
            device=CPU,
            global_batch_size=batch,
            rank=rank,
            workers=workers,
            seed=0,
            epoch=epoch,
        )
        for rank in range(workers)
    ]


def assert_fair(found: list[Batches]) -> None:
    """Equal steps for all workers, and each row at most once."""
    taken = [list(share) for share in found]
    assert len({tuple(len(step) for step in share) for share in taken}) == 1
    seen = torch.cat([step for share in taken for step in share] or [torch.empty(0, 1)])[:, 0]
    assert len(seen.unique()) == len(seen) == found[0].count - found[0].count % len(found)
    assert all(len(steps) == len(share) for steps, share in zip(taken, found, strict=True))


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 4), st.integers(0, 3))
def test_workers_take_equal_steps_and_see_each_row_at_most_once(
    rows: int, per_worker: int, workers: int, epoch: int
) -> None:
    rows = max(rows, workers)  # fewer are refused before training starts
    assert_fair(shares(rows, per_worker * workers, workers, epoch))


@pytest.mark.parametrize("rows", [7, 100, 1000, 1003])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_rows_of_a_file_are_shared_alike_and_mixed_from_far_apart(
    rows: int, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "_PIECE_BYTES", 32)
    monkeypatch.setattr(batches_module, "_MIXED_NUMBERS", 400)
    found = [stored(rows, workers, rank, tmp_path) for rank in range(workers)]
    assert_fair(list(found))
    first, again = list(found[0]), list(found[0])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    if rows >= 1000:
        # Of 12 rows in order, the numbers would span 12 of 1000.
        assert all(float(np.ptp(step[:, 0].numpy())) > rows / 4 for step in first[:-1])
    found[0].epoch = 1
    assert not torch.equal(torch.cat(first), torch.cat(list(found[0])))


def test_rows_of_a_file_are_scaled_as_they_are_read(tmp_path: Path) -> None:
    halves = ScalingStatistics(np.zeros(1, np.float32), np.full(1, 2, np.float32))
    batches = stored(10, 1, 0, tmp_path)
    batches.rows = batches.rows.scaled_by(halves)
    assert sorted(torch.cat(list(batches))[:, 0].tolist()) == [number / 2 for number in range(10)]


def stored(rows: int, workers: int, rank: int, folder: Path) -> StoredBatches:
    path = folder / "rows"
    np.repeat(np.arange(rows, dtype=np.float32), 2).tofile(path)
    return StoredBatches(
        rows=StoredRows(path, (rows, 2)),
        device=CPU,
        global_batch_size=12 * workers,
        rank=rank,
        workers=workers,
        seed=0,
    )


def test_each_epoch_has_another_order_and_the_same_epoch_the_same() -> None:
    first, again, later = (list(shares(100, 10, 1, epoch)[0]) for epoch in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, later, strict=True))


def test_validation_sees_every_row_once_over_all_workers() -> None:
    rows = torch.arange(103).float()[:, None]
    taken = [list(ValidationBatches(rows, CPU, 10, rank, 4)) for rank in range(4)]
    seen = torch.cat([step for share in taken for step in share]).flatten()
    assert sorted(seen.tolist()) == rows.flatten().tolist()


@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=2),
    st.lists(st.integers(0, 5), min_size=2, max_size=2),
)
def test_different_parts_give_different_seeds(first: list[int], second: list[int]) -> None:
    assert (mix_seed(*first) == mix_seed(*second)) == (first == second)
    assert 0 <= mix_seed(*first) < 2**63
