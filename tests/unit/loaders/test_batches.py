"""Every row once an epoch, shared evenly, in an order that seed and epoch determine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isthmus.data import ScalingStatistics, StoredRows
from isthmus.loaders import batches as batches_module
from isthmus.loaders.batches import (
    Batches,
    ResidentBatches,
    StoredBatches,
    ValidationBatches,
    mix_seed,
)

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
    assert len(seen.unique()) == len(seen) == found[0].rows_per_epoch
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


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 3), st.integers(1, 4))
def test_parts_of_a_step_hold_its_rows_and_are_as_many_as_the_loader_says(
    rows: int, per_worker: int, workers: int, parts: int
) -> None:
    for share in shares(max(rows, workers), per_worker * workers, workers):
        whole = [step for (step,) in share.steps()]
        share.parts = parts
        steps = list(share.steps())
        assert sum(len(step) for step in steps) == len(share)
        assert len(steps) == share.steps_per_epoch
        assert all(torch.equal(torch.cat(s), w) for s, w in zip(steps, whole, strict=True))


@pytest.mark.parametrize("kind", ["resident", "stored"])
def test_a_pass_that_is_resumed_goes_on_with_the_rows_that_were_to_come(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "_PIECE_BYTES", 32)
    monkeypatch.setattr(batches_module, "_MIXED_NUMBERS", 100)

    def made(rank: int) -> Batches:
        if kind == "stored":
            return stored(103, 2, rank, tmp_path)
        return shares(103, 24, 2)[rank]

    for rank in range(2):
        whole = list(made(rank))
        for taken in range(len(whole)):
            interrupted, resumed = made(rank), made(rank)
            passing = iter(interrupted)
            for _ in range(taken):
                next(passing)
            resumed.load_state_dict(interrupted.state_dict())
            rest = list(resumed)
            assert len(rest) == len(whole) - taken
            assert all(torch.equal(a, b) for a, b in zip(rest, whole[taken:], strict=True))
            assert all(torch.equal(a, b) for a, b in zip(list(resumed), whole, strict=True))


def test_each_epoch_has_another_order_and_the_same_epoch_the_same() -> None:
    first, again, later = (list(shares(100, 10, 1, epoch)[0]) for epoch in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, later, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 40, 41, 103])
def test_validation_sees_every_row_once_and_all_workers_have_equally_many_batches(
    count: int,
) -> None:
    rows = torch.arange(count).float()[:, None]
    taken = [list(ValidationBatches(rows, CPU, 10, rank, 4)) for rank in range(4)]
    assert len({len(share) for share in taken}) == 1
    seen = torch.cat([step for share in taken for step in share]).flatten()
    assert sorted(seen.tolist()) == rows.flatten().tolist()


@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=2),
    st.lists(st.integers(0, 5), min_size=2, max_size=2),
)
def test_different_parts_give_different_seeds(first: list[int], second: list[int]) -> None:
    assert (mix_seed(*first) == mix_seed(*second)) == (first == second)
    assert 0 <= mix_seed(*first) < 2**63
